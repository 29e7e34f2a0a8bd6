{{/* What a ServiceMonitor and a PodMonitor say alike: how the port http is scraped. */}}
{{- define "unroll.scrape" -}}
port: http
path: /metrics
interval: {{ .Values.monitoring.interval }}
scrapeTimeout: {{ .Values.monitoring.scrapeTimeout }}
{{- if .Values.tls.enabled }}
scheme: https
# The certificate is for the name that clients use, not for the address of a pod.
tlsConfig: {insecureSkipVerify: true}
{{- end }}
{{- with .Values.monitoring.apiKey.existingSecret }}
authorization:
  credentials: {name: {{ . | quote }}, key: {{ $.Values.monitoring.apiKey.key | quote }}}
{{- end }}
{{- end }}

{{/* The rules and the dashboards look for job="unroll"; exemplars are in OpenMetrics only. */}}
{{- define "unroll.scrapedAs" -}}
jobLabel: app.kubernetes.io/name
scrapeProtocols: [OpenMetricsText1.0.0, PrometheusText0.0.4]
{{- end }}

{{/* Labels of a resource by which the operator's Prometheus chooses it. Argument: a list of the root, the labels. */}}
{{- define "unroll.chosenBy" -}}
{{- toYaml (merge (dict) (index . 1) (include "unroll.labels" (index . 0) | fromYaml)) -}}
{{- end }}
