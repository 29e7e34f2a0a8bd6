{{/* Values that are right by themselves and wrong together. All that is wrong is said at once. */}}

{{- define "unroll.refuse" -}}
{{- $wrong := list -}}
{{- range list "names" "scaling" "redis" "device" "settings" "security" "routes" "stop" -}}
{{- range splitList "\n" (include (printf "unroll.check.%s" .) $ | trim) -}}
{{- with trim . }}{{ $wrong = append $wrong . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $wrong }}{{ fail (printf "\n\nThe values do not fit together:\n- %s\n" (join "\n- " .)) }}{{ end -}}
{{- end }}

{{- define "unroll.check.names" -}}
{{- $name := include "unroll.name" . -}}
{{- if not (regexMatch "^[a-z]" $name) }}
The name {{ $name }} must begin with a letter, as names of Services do: set fullnameOverride
{{- end }}
{{- range $label, $_ := .Values.podLabels }}
{{- if hasKey (include "unroll.selector" $ | fromYaml) $label }}
podLabels: {{ $label }} is a label by which the release finds its pods
{{- end }}
{{- end }}
{{- end }}

{{- define "unroll.check.scaling" -}}
{{- $scaling := .Values.autoscaling -}}
{{- if and $scaling.hpa.enabled $scaling.keda.enabled }}
autoscaling: hpa.enabled and keda.enabled exclude each other, because KEDA makes a HorizontalPodAutoscaler of its own
{{- end }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
autoscaling: minReplicas {{ $scaling.minReplicas }} is more than maxReplicas {{ $scaling.maxReplicas }}
{{- end }}
{{- if and (gt (int (include "unroll.mostPods" .)) 1) (not (include "unroll.namesStateKeys" .)) }}
secrets.existingSecret is empty, but {{ include "unroll.mostPods" . }} pods need the same UNROLL_STATE_KEYS, or a state from one is refused by another: name a Secret, or set replicas to 1
{{- end }}
{{- end }}

{{/* "true" if some value may bring UNROLL_STATE_KEYS. */}}
{{- define "unroll.namesStateKeys" -}}
{{- $named := list -}}
{{- range .Values.extraEnv }}{{ $named = append $named .name }}{{ end -}}
{{- if or .Values.secrets.existingSecret .Values.extraEnvFrom (has "UNROLL_STATE_KEYS" $named) }}true{{ end -}}
{{- end }}

{{- define "unroll.check.redis" -}}
{{- $redis := .Values.redis -}}
{{- if and $redis.enabled (not (include "unroll.namesStateKeys" .)) }}
redis.enabled needs secrets.existingSecret with UNROLL_STATE_KEYS: the service encrypts sessions before it stores them
{{- end }}
{{- if and $redis.enabled (not $redis.url) (not $redis.existingSecret) }}
redis.enabled needs redis.url, or redis.existingSecret with the URL under {{ $redis.key }}
{{- end }}
{{- if and $redis.url $redis.existingSecret }}
redis.url and redis.existingSecret exclude each other
{{- end }}
{{- if and (not $redis.enabled) (or $redis.url $redis.existingSecret) }}
redis.{{ ternary "url" "existingSecret" (not (empty $redis.url)) }} is set, but redis.enabled is false
{{- end }}
{{- if contains "@" $redis.url }}
redis.url holds a password, which everyone who may read the ConfigMap would see: put the URL into a Secret and name that in redis.existingSecret
{{- end }}
{{- end }}

{{- define "unroll.check.device" -}}
{{- $device := .Values.settings.UNROLL_DEVICE | default "" | toString -}}
{{- if and .Values.gpu.enabled (eq $device "cpu") }}
gpu.enabled is true, but settings.UNROLL_DEVICE is cpu
{{- end }}
{{- if and (not .Values.gpu.enabled) (hasPrefix "cuda" $device) }}
settings.UNROLL_DEVICE is {{ $device }}, but gpu.enabled is false, so the pods get no GPU
{{- end }}
{{- end }}

{{- define "unroll.check.settings" -}}
{{- $elsewhere := dict "UNROLL_PORT" "nothing: pods listen on 8000, and service.port is that of the Service" "UNROLL_HOST" "nothing: pods listen on all addresses" "UNROLL_MODELS_DIR" "models.source" "UNROLL_WORKERS" "workers" "UNROLL_GRPC_PORT" "grpc.enabled and grpc.port" "UNROLL_TLS_CERT" "tls.existingSecret" "UNROLL_TLS_KEY" "tls.existingSecret" "UNROLL_TLS_CLIENT_CA" "tls.clientCertificates" "UNROLL_API_KEYS_FILE" "apiKeys.existingSecret" "UNROLL_API_KEYS" "secrets.existingSecret, as an entry of it" "UNROLL_STATE_KEYS" "secrets.existingSecret, as an entry of it" "UNROLL_REDIS_URL" "redis.url" "OTEL_EXPORTER_OTLP_ENDPOINT" "tracing.endpoint" -}}
{{- range $name, $_ := .Values.settings }}
{{- if hasKey $elsewhere $name }}
settings.{{ $name }}: set {{ get $elsewhere $name }} instead
{{- end }}
{{- end }}
{{- if and (eq (toString .Values.settings.UNROLL_METRICS_NEED_KEY) "true") (or .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled) (not .Values.monitoring.apiKey.existingSecret) }}
settings.UNROLL_METRICS_NEED_KEY is true, so Prometheus needs monitoring.apiKey.existingSecret
{{- end }}
{{- end }}

{{- define "unroll.check.security" -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
tls.enabled needs tls.existingSecret, a Secret of the type kubernetes.io/tls
{{- end }}
{{- if and (not .Values.tls.enabled) (or .Values.tls.existingSecret .Values.tls.clientCertificates) }}
tls.{{ ternary "existingSecret" "clientCertificates" (not (empty .Values.tls.existingSecret)) }} is set, but tls.enabled is false
{{- end }}
{{- if and .Values.tls.clientCertificates (or .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled) }}
tls.clientCertificates keeps Prometheus out: write a monitor of your own that has a certificate
{{- end }}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}
monitoring: serviceMonitor.enabled and podMonitor.enabled exclude each other, because every pod would be scraped twice
{{- end }}
{{- end }}

{{- define "unroll.check.routes" -}}
{{- if and .Values.httpRoute.enabled .Values.ingress.enabled (ne (trimSuffix "/" .Values.httpRoute.path) (trimSuffix "/" .Values.ingress.path)) }}
httpRoute.path {{ .Values.httpRoute.path }} and ingress.path {{ .Values.ingress.path }} differ, and the service can be shown under one path only
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
httpRoute.enabled needs httpRoute.parentRefs, the Gateways to attach to
{{- end }}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) }}
grpcRoute.enabled needs grpcRoute.parentRefs, the Gateways to attach to
{{- end }}
{{- if and .Values.grpcRoute.enabled (not .Values.grpc.enabled) }}
grpcRoute.enabled needs grpc.enabled
{{- end }}
{{- if and .Values.httpRoute.enabled .Values.grpcRoute.enabled (eq (toJson .Values.httpRoute.parentRefs) (toJson .Values.grpcRoute.parentRefs)) }}
{{- $shared := list }}
{{- range .Values.grpcRoute.hostnames }}{{ if has . $.Values.httpRoute.hostnames }}{{ $shared = append $shared . }}{{ end }}{{ end }}
{{- if or $shared (not .Values.httpRoute.hostnames) (not .Values.grpcRoute.hostnames) }}
httpRoute and grpcRoute are attached to the same listener for {{ ternary (join ", " $shared) "all host names" (not (empty $shared)) }}, and a Gateway accepts only one of them there: give each its own hostnames, or its own listener by sectionName
{{- end }}
{{- end }}
{{- if and .Values.grpc.enabled (has (int .Values.grpc.port) (list 8000 (int .Values.service.port))) }}
grpc.port {{ .Values.grpc.port }} is the port of HTTP
{{- end }}
{{- end }}

{{- define "unroll.check.stop" -}}
{{- range $name, $strategy := dict "strategy" .Values.strategy "gpu.strategy" .Values.gpu.strategy }}
{{- if and (has (toString $strategy.maxSurge) (list "0" "0%")) (has (toString $strategy.maxUnavailable) (list "0" "0%")) }}
{{ $name }}: maxSurge and maxUnavailable are both 0, so a roll-out could neither begin with a new pod nor with an old one
{{- end }}
{{- end }}
{{- $drain := .Values.settings.UNROLL_DRAIN_TIMEOUT_S | default "20" | toString | float64 -}}
{{- $needed := addf $drain .Values.preStopSeconds 10 | ceil | int -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) $needed }}
terminationGracePeriodSeconds {{ .Values.terminationGracePeriodSeconds }} is too short for preStopSeconds {{ .Values.preStopSeconds }}, UNROLL_DRAIN_TIMEOUT_S {{ $drain }} and a margin of 10: set {{ $needed }} or more
{{- end }}
{{- end }}
