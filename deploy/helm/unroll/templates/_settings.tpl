{{/* Settings of the service: those that values stand for, below those that the user gives. */}}

{{/* Settings of the ConfigMap, as YAML. */}}
{{- define "unroll.settings" -}}
{{- $own := dict "UNROLL_DEVICE" (ternary "cuda" "cpu" .Values.gpu.enabled) -}}
{{- if ne (toString .Values.workers) "" }}{{ $_ := set $own "UNROLL_WORKERS" (toString .Values.workers) }}{{ end -}}
{{- if .Values.grpc.enabled }}{{ $_ := set $own "UNROLL_GRPC_PORT" (toString .Values.grpc.port) }}{{ end -}}
{{- if .Values.tls.enabled -}}
{{- $_ := set $own "UNROLL_TLS_CERT" "/tls/tls.crt" -}}
{{- $_ := set $own "UNROLL_TLS_KEY" "/tls/tls.key" -}}
{{- if .Values.tls.clientCertificates }}{{ $_ := set $own "UNROLL_TLS_CLIENT_CA" "/tls/ca.crt" }}{{ end -}}
{{- end -}}
{{- if .Values.apiKeys.existingSecret }}{{ $_ := set $own "UNROLL_API_KEYS_FILE" (printf "/keys/%s" .Values.apiKeys.file) }}{{ end -}}
{{- if and .Values.redis.enabled .Values.redis.url }}{{ $_ := set $own "UNROLL_REDIS_URL" .Values.redis.url }}{{ end -}}
{{- with include "unroll.prefix" . }}{{ $_ := set $own "UNROLL_ROOT_PATH" . }}{{ end -}}
{{- if .Values.tracing.endpoint }}{{ $_ := set $own "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.tracing.endpoint }}{{ end -}}
{{- range $name, $value := .Values.settings -}}
{{- $_ := set $own $name (include "unroll.text" $value) -}}
{{- end -}}
{{- toYaml $own -}}
{{- end }}

{{/* A value as text. Whole numbers reach templates as floats, and large ones would be written as 4e+09. */}}
{{- define "unroll.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end -}}
{{- end }}

{{/* Path under which an Ingress or a Gateway shows the service; empty: at the root. The service takes requests with it. */}}
{{- define "unroll.prefix" -}}
{{- $ingress := ternary .Values.ingress.path "/" .Values.ingress.enabled | trimSuffix "/" -}}
{{- $route := ternary .Values.httpRoute.path "/" .Values.httpRoute.enabled | trimSuffix "/" -}}
{{- $route | default $ingress -}}
{{- end }}
