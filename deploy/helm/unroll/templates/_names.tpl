{{/* Names of the resources, and their labels. */}}

{{/*
Name of the resources: the release and the chart, or the release alone if it contains the chart's name. At most 46
characters, so that the names of pods (NAME-HASH-SUFFIX) are never cut: the query of the autoscaler finds them by it. A
longer one is cut and ends in a digest, so that two long ones differ.
*/}}
{{- define "unroll.name" -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- $name := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name)) -}}
{{- $name = $name | replace "." "-" -}}
{{- if gt (len $name) 46 -}}
{{- printf "%s-%s" ($name | trunc 37 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end }}

{{/* Labels by which the pods of this release are found. */}}
{{- define "unroll.selector" -}}
app.kubernetes.io/name: unroll
app.kubernetes.io/component: service
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "unroll.labels" -}}
{{ include "unroll.selector" . }}
{{ include "unroll.origin" . }}
{{- end }}

{{/* Labels that say which chart and release a resource is of. */}}
{{- define "unroll.origin" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Image of the service, for the CPU or for a GPU. */}}
{{- define "unroll.image" -}}
{{- $repository := ternary .Values.gpu.repository .Values.image.repository .Values.gpu.enabled -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* Name of the claim of the bundles. */}}
{{- define "unroll.claim" -}}
{{- .Values.models.volume.existingClaim | default (printf "%s-models" (include "unroll.name" .)) -}}
{{- end }}

{{/* "true" if an autoscaler sets the number of pods. */}}
{{- define "unroll.autoscaled" -}}
{{- if or .Values.autoscaling.hpa.enabled .Values.autoscaling.keda.enabled }}true{{ end -}}
{{- end }}

{{/* Most pods that there may be. */}}
{{- define "unroll.mostPods" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicas (eq (include "unroll.autoscaled" .) "true") -}}
{{- end }}

{{/* "true" if the pods have more than one process. */}}
{{- define "unroll.hasWorkers" -}}
{{- if not (has (toString .Values.workers) (list "" "1")) }}true{{ end -}}
{{- end }}
