{{/* Volumes of the pod, and where its container mounts them. */}}

{{- define "unroll.mounts" -}}
- {name: scratch, mountPath: /tmp}
{{- if ne .Values.models.source "none" }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- if include "unroll.hasWorkers" . }}
- {name: shared-memory, mountPath: /dev/shm}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /tls, readOnly: true}
{{- end }}
{{- if .Values.apiKeys.existingSecret }}
- {name: api-keys, mountPath: /keys, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "unroll.volumes" -}}
- name: scratch
  emptyDir: {sizeLimit: 64Mi}
{{- if eq .Values.models.source "volume" }}
- name: models
  persistentVolumeClaim: {claimName: {{ include "unroll.claim" . | quote }}, readOnly: true}
{{- else if eq .Values.models.source "image" }}
- name: models
  emptyDir: {sizeLimit: {{ include "unroll.text" .Values.models.image.sizeLimit | quote }}}
{{- end }}
{{- if include "unroll.hasWorkers" . }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ include "unroll.text" .Values.sharedMemory.sizeLimit | quote }}}
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  secret: {secretName: {{ .Values.tls.existingSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- if .Values.apiKeys.existingSecret }}
- name: api-keys
  secret: {secretName: {{ .Values.apiKeys.existingSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
