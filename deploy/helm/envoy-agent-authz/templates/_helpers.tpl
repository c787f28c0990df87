{{- define "authz.selector" -}}
app.kubernetes.io/name: {{ .Values.name }}
{{- end }}

{{- define "authz.labels" -}}
{{ include "authz.selector" . }}
app.kubernetes.io/part-of: agent-authz
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "authz.stsLabels" -}}
app.kubernetes.io/name: {{ .Values.name }}-sts
app.kubernetes.io/part-of: agent-authz
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Whom the pods may ask, of both NetworkPolicies. */}}
{{- define "authz.egress" -}}
{{- if .Values.networkPolicy.egress }}
{{- toYaml .Values.networkPolicy.egress | nindent 0 }}
{{- else }}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
    - ipBlock: {cidr: 169.254.20.10/32}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- to:
    - ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}
    - ipBlock: {cidr: "::/0"}
  ports:
    - {port: 443, protocol: TCP}
{{- end }}
{{- if .Values.store.enabled }}
- to:
    {{- toYaml .Values.networkPolicy.store.to | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.store.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{- define "authz.configMap" -}}
{{ .Values.existingConfigMap | default .Values.name }}
{{- end }}

{{- define "authz.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
{{- end }}

{{/* What a schema can't say: the config and the rest of the values must fit each other. */}}
{{- define "authz.check" -}}
{{- if not .Values.existingConfigMap -}}
{{- $config := .Values.config | default dict -}}
{{- $server := $config.server | default dict -}}
{{- $listen := join " " (concat (list) (kindIs "slice" $server.listen | ternary $server.listen (list $server.listen))) -}}
{{- if not (regexMatch ":9191( |$)" $listen) -}}
{{- fail (printf "config.server.listen is %q: the Service and the NetworkPolicy are for port 9191, as in 0.0.0.0:9191" $listen) -}}
{{- end -}}
{{- $admin := ($config.admin | default dict).listen | default "" -}}
{{- if or (not (hasSuffix ":9192" $admin)) (hasPrefix "127." $admin) (hasPrefix "localhost:" $admin) -}}
{{- fail (printf "config.admin.listen is %q: probes come from the node to port 9192, as in 0.0.0.0:9192" $admin) -}}
{{- end -}}
{{- $workload := ($server.tls | default dict).workload_api -}}
{{- if and (eq .Values.certificate.source "spire-csi") (not $workload) -}}
{{- fail "certificate.source is spire-csi: config.server.tls needs workload_api, and null for certificate, private_key and client_ca" -}}
{{- end -}}
{{- if and (ne .Values.certificate.source "spire-csi") $workload -}}
{{- fail (printf "config.server.tls.workload_api needs certificate.source spire-csi, and it is %s" .Values.certificate.source) -}}
{{- end -}}
{{- if and .Values.store.enabled (not $config.store) -}}
{{- fail "store.enabled is true: config.store must say where the store is" -}}
{{- end -}}
{{- if and $config.store .Values.networkPolicy.enabled (not .Values.store.enabled) (not .Values.networkPolicy.egress) -}}
{{- fail "config.store is set, and store.enabled is false: the NetworkPolicy lets no pod reach the store" -}}
{{- end -}}
{{- $signals := toString (($config.signals | default dict).listen | default "") -}}
{{- if and .Values.signals.enabled (or (not (hasSuffix ":9193" $signals)) (hasPrefix "127." $signals) (hasPrefix "localhost:" $signals)) -}}
{{- fail (printf "config.signals.listen is %q: issuers post to port 9193, as in 0.0.0.0:9193" $signals) -}}
{{- end -}}
{{- if and (hasSuffix ":9193" $signals) (not .Values.signals.enabled) (not (hasPrefix "127." $signals)) -}}
{{- fail "config.signals.listen is set, and signals.enabled is false: the Service has no port for signals" -}}
{{- end -}}
{{- $assertions := $config.assertions | default dict -}}
{{- $keys := toString ($assertions.listen | default "") -}}
{{- if and .Values.assertions.enabled (or (not (hasSuffix ":9194" $keys)) (hasPrefix "127." $keys) (hasPrefix "localhost:" $keys)) -}}
{{- fail (printf "config.assertions.listen is %q: upstreams fetch keys from port 9194, as in 0.0.0.0:9194" $keys) -}}
{{- end -}}
{{- if and (hasSuffix ":9194" $keys) (not .Values.assertions.enabled) (not (hasPrefix "127." $keys)) -}}
{{- fail "config.assertions.listen is set, and assertions.enabled is false: the Service has no port for its keys" -}}
{{- end -}}
{{- $sts := $config.sts | default dict -}}
{{- if and .Values.sts.enabled (or (not (hasSuffix ":9443" (toString ($sts.listen | default "")))) (hasPrefix "127." (toString ($sts.listen | default "")))) -}}
{{- fail (printf "config.sts.listen is %q: agents ask port 9443, as in 0.0.0.0:9443" (toString ($sts.listen | default ""))) -}}
{{- end -}}
{{- $stsAdmin := toString (($sts.admin | default dict).listen | default "") -}}
{{- if and .Values.sts.enabled (or (not (hasSuffix ":9195" $stsAdmin)) (hasPrefix "127." $stsAdmin)) -}}
{{- fail (printf "config.sts.admin.listen is %q: probes come from the node to port 9195, as in 0.0.0.0:9195" $stsAdmin) -}}
{{- end -}}
{{- $drain := toString $server.drain -}}
{{- if regexMatch "^[0-9]+[sm]$" $drain -}}
{{- $seconds := add 17 (mul (hasSuffix "m" $drain | ternary 60 1) (atoi (regexFind "^[0-9]+" $drain))) -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $seconds) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: with config.server.drain %s it must be %d at least, or a stop is cut short" (int .Values.terminationGracePeriodSeconds) $drain $seconds) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %d, and maxReplicas is %d: it must be at least as much" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end }}
