# agent-authz as a container: no build tools, no root, nothing written to its own file system.
#
#   docker build -t envoy-agent-authz .
#   docker run --read-only --cap-drop ALL --tmpfs /run/authz:uid=65532,gid=65532,mode=0750 \
#     -v ./config.yaml:/etc/authz/config.yaml:ro -p 9191:9191 envoy-agent-authz

# Both stages start from one image: a virtual environment only works with the Python it came from.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
RUN python -m venv /opt/authz
WORKDIR /src
# First what seldom changes: every dependency, each held to its hash, wheels only.
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/authz/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY authz authz
COPY docs/man/authz.1 docs/man/authz.1
RUN python -m pip wheel --no-deps --wheel-dir /dist . \
    && /opt/authz/bin/pip install --no-deps --no-index /dist/*.whl \
    && /opt/authz/bin/pip check \
    && /opt/authz/bin/pip uninstall --yes pip setuptools \
    # Compiled here, since the final file system is read-only; nothing there changes afterwards, so
    # Python need not compare the two on each start.
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/authz/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="envoy-agent-authz" \
      org.opencontainers.image.description="Envoy external authorization for AI agents" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/authz/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/authz /opt/authz
# Where unix sockets go; the proxy shares it, so it belongs to the user that listens.
RUN install -d -o 65532 -g 65532 -m 0750 /run/authz
# A number, so that Kubernetes' runAsNonRoot can tell that it isn't root. It needs no passwd entry.
USER 65532:65532
WORKDIR /
# Checks, and the admin port (metrics, health), which listens on loopback unless the config says else.
EXPOSE 9191 9192
# Asks /readyz on 127.0.0.1:9192; under Kubernetes its own probes count instead.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["authz", "health"]
ENTRYPOINT ["authz"]
CMD ["serve", "/etc/authz/config.yaml"]
