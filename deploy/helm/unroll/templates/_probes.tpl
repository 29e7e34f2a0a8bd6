{{/* Probes of the service's container. */}}

{{/* HTTP, or HTTPS where the service speaks TLS. Argument: a list of the root, the path. */}}
{{- define "unroll.httpGet" -}}
{{- $root := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  {{- if $root.Values.tls.enabled }}
  scheme: HTTPS
  {{- end }}
{{- end }}

{{/* Liveness. The kubelet has no client certificate: where one is demanded, it sees only whether the port is open. */}}
{{- define "unroll.isAlive" -}}
{{- if .Values.tls.clientCertificates -}}
tcpSocket:
  port: http
{{- else -}}
{{ include "unroll.httpGet" (list . "/health/live") }}
{{- end -}}
{{- end }}

{{/* Readiness. Where a client certificate is demanded, the image's health check asks inside the pod. */}}
{{- define "unroll.isReady" -}}
{{- if .Values.tls.clientCertificates -}}
exec:
  command: [python, -ISB, /opt/unroll/healthcheck.py]
{{- else -}}
{{ include "unroll.httpGet" (list . "/health/ready") }}
{{- end -}}
{{- end }}

{{- define "unroll.probes" -}}
{{- $startup := .Values.probes.startup -}}
{{- if .Values.gpu.enabled -}}
{{- $tries := divf .Values.gpu.startupSeconds $startup.periodSeconds | ceil | int -}}
{{- $startup = merge (dict "failureThreshold" $tries) $startup -}}
{{- end -}}
# Liveness, not readiness: a pod with a damaged model needs inspection, not a restart.
startupProbe:
  {{- include "unroll.isAlive" . | nindent 2 }}
  {{- toYaml $startup | nindent 2 }}
# Fails if only a restart helps: the event loop does not respond, or a lane is stuck.
livenessProbe:
  {{- include "unroll.isAlive" . | nindent 2 }}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
# Every model has reproduced its recorded answers and is warm.
readinessProbe:
  {{- include "unroll.isReady" . | nindent 2 }}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
{{- end }}
