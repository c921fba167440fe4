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
{{- end -}}

{{- define "weir.node.volumes" -}}
- name: bpf
  hostPath: {path: /sys/fs/bpf, type: Directory}
- name: cgroup
  hostPath: {path: /sys/fs/cgroup, type: Directory}
{{- end -}}

{{- define "weir.clean-up.args" -}}
- uninstall
- --bpf={{ .Values.node.bpfFolder }}
- --admin={{ .Values.node.runFolder }}/admin.sock
{{- end -}}
