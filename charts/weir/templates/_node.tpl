{{- /* What mesh-node and the job that cleans up after it share. */ -}}

{{- define "weir.node.env" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: NODE_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
{{- end -}}

{{- define "weir.node.cgroup" -}}
{{ .Values.node.cgroupRoot }}
{{- end -}}

{{- define "weir.node.security" -}}
runAsUser: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
# The profiles for ordinary containers forbid to write /proc/sys in the pods' network namespaces and to look at their processes.
appArmorProfile: {type: Unconfined}
seccompProfile: {type: RuntimeDefault}
seLinuxOptions: {level: s0, type: spc_t}
capabilities:
  drop: [ALL]
  add:
    # Attaching the eBPF programs to the pods' cgroup and network namespaces; IP_TRANSPARENT and SO_MARK on the proxy's sockets; rules
    # and routes in the pods' namespaces.
    - NET_ADMIN
    # Telling neighbours which node has a Gateway's address (ARP and NDP).
    - NET_RAW
    # Entering the pods' network namespaces (setns), and writing their settings, for which /proc/sys is mounted anew. It
    # includes CAP_BPF, for loading the programs.
    - SYS_ADMIN
    # Opening /proc/PID/ns/net of processes that belong to other users.
    - SYS_PTRACE
{{- end -}}

{{- define "weir.node.mounts" -}}
- {name: bpf, mountPath: /sys/fs/bpf}
- {name: cgroup, mountPath: /sys/fs/cgroup}
{{- if include "weir.node.cni" . }}
- {name: cni-programs, mountPath: {{ .Values.cni.binDir }}}
- {name: cni-networks, mountPath: {{ .Values.cni.confDir }}}
{{- end }}
{{- end -}}

{{- define "weir.node.volumes" -}}
- name: bpf
  hostPath: {path: /sys/fs/bpf, type: Directory}
- name: cgroup
  hostPath: {path: /sys/fs/cgroup, type: Directory}
{{- if include "weir.node.cni" . }}
- name: cni-programs
  hostPath: {path: {{ .Values.cni.binDir }}, type: Directory}
- name: cni-networks
  hostPath: {path: {{ .Values.cni.confDir }}, type: Directory}
{{- end }}
{{- end -}}

{{- /*
Not empty where mesh-node has to do with the nodes' network configuration: the CNI plugin is wanted, or it was once, and an
upgrade is to take it away. Left there without a mesh-node to answer it, it would let no pod start.
*/ -}}
{{- define "weir.node.cni" -}}
{{- $live := lookup "apps/v1" "DaemonSet" .Release.Namespace "mesh-node" -}}
{{- if or .Values.cni.enabled (dig "metadata" "annotations" "weir.dev/cni" "" $live) -}}
true
{{- end -}}
{{- end -}}

{{- define "weir.node.cni.args" -}}
- --cni-socket={{ .Values.node.runFolder }}/cni.sock
{{- if include "weir.node.cni" . }}
- --cni-networks={{ .Values.cni.confDir }}
- --cni-programs={{ .Values.cni.binDir }}
{{- end }}
{{- end -}}

{{- define "weir.clean-up.args" -}}
- uninstall
- --bpf={{ .Values.node.bpfFolder }}
- --admin={{ .Values.node.runFolder }}/admin.sock
{{ include "weir.node.cni.args" . }}
{{- end -}}
