# agent-authz as a container: no build tools, no root, nothing written to its own file system.
#
#   docker build -t envoy-agent-authz .
#   docker run --read-only --cap-drop ALL --tmpfs /run/authz:uid=65532,gid=65532,mode=0750 \
#     -v ./config.yaml:/etc/authz/config.yaml:ro -p 9191:9191 envoy-agent-authz
#
# Without the extras: --build-arg EXTRAS=

# Both stages start from one image: a virtual environment only works with the Python it came from. The
# digest is the tag's image index, for all platforms. docs/howto/release.md says how to take a newer one.
ARG PYTHON_IMAGE=python:3.11.16-slim-bookworm@sha256:c425d915a89a6dcd3183b1797ad9bd8878caff5a417f6371c8df93c8ea8b727f

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# First what seldom changes: every package, each held to its hash, wheels only.
COPY requirements/build.txt requirements/runtime-extras.txt requirements/
RUN python -m venv --without-pip /opt/build \
    && python -m pip --python /opt/build/bin/python install --require-hashes --only-binary :all: --no-deps \
      -r requirements/build.txt \
    && python -m pip download --require-hashes --only-binary :all: --no-deps \
      -r requirements/runtime-extras.txt --dest /wheels
COPY pyproject.toml README.md LICENSE ./
COPY authz authz
COPY docs/man/authz.1 docs/man/authz.1
# With the time of the released commit, the wheel is the released one, byte for byte.
ARG SOURCE_DATE_EPOCH
RUN python -m pip --python /opt/build/bin/python wheel --no-deps --no-index --no-build-isolation \
      --wheel-dir /dist .
# All extras, some of them, or (empty) none.
ARG EXTRAS=spiffe,cel,otel,store,sts
RUN IFS=, && for extra in $EXTRAS; do \
      case "$extra" in \
        spiffe | cel | otel | store | sts) ;; \
        *) echo "EXTRAS is spiffe,cel,otel,store,sts or some of these or empty, and not: $EXTRAS" >&2; exit 1 ;; \
      esac; \
    done && unset IFS \
    && python -m venv --without-pip /opt/authz \
    && python -m pip --python /opt/authz/bin/python install --no-index --find-links /wheels \
      "$(echo /dist/*.whl)${EXTRAS:+[$EXTRAS]}" \
    && python -m pip --python /opt/authz/bin/python check
# Compiled here, since the final file system is read-only; nothing there changes afterwards, so
# Python need not compare the two on each start.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/authz/lib

FROM ${PYTHON_IMAGE}
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="envoy-agent-authz" \
      org.opencontainers.image.description="Envoy external authorization for AI agents" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# With server.workers the supervisor needs a folder to write in: where the file system is read-only,
# the folder of sockets is the only one.
ENV PATH=/opt/authz/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TMPDIR=/run/authz
COPY --from=build /opt/authz /opt/authz
# Where unix sockets go; the proxy shares it, so it belongs to the user that listens.
RUN install -d -o 65532 -g 65532 -m 0750 /run/authz
# A number, so that Kubernetes' runAsNonRoot can tell that it isn't root. It needs no passwd entry.
USER 65532:65532
WORKDIR /
# Checks, and the admin port (metrics, health), which listens on loopback unless the config says else.
EXPOSE 9191 9192
# Asks /readyz on 127.0.0.1:9192; under Kubernetes its own probes count instead. Each check is a process,
# so it is seldom; the command itself gives up after 2 s.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["authz", "health"]
ENTRYPOINT ["authz"]
CMD ["serve", "/etc/authz/config.yaml"]
