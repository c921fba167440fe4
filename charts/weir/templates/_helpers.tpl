{{- /* image PROGRAM */ -}}
{{- define "weir.image" -}}
{{ .root.Values.images.registry }}/{{ .program }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{- /* What every object of a program carries, and, of it, what selects its pods. */ -}}
{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/part-of: weir
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "weir.selector" -}}
app.kubernetes.io/name: {{ .program }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- /* What the pods of every program have: where and with what they run. */ -}}
{{- define "weir.pod" -}}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
priorityClassName: {{ .values.priorityClassName }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The token that a program proves itself to the cert-authority with, and the roots to know the cert-authority by. */ -}}
{{- define "weir.trust.volumes" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken: {audience: weir, expirationSeconds: 3600, path: token}
# The cert-authority writes it once it runs; until then the programs wait for the file.
- name: trust
  configMap: {name: weir-trust-bundle, optional: true}
{{- end -}}

{{- define "weir.trust.mounts" -}}
- {name: token, mountPath: /var/run/secrets/weir, readOnly: true}
- {name: trust, mountPath: /etc/weir/trust, readOnly: true}
{{- end -}}

{{- /* Programs that need nothing of the system. */ -}}
{{- define "weir.restricted.pod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "weir.restricted.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
