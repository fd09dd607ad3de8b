{{- /* Names; a release called unikubelet makes objects called unikubelet. */ -}}
{{- define "unikubelet.name" -}}
{{- if contains "unikubelet" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-unikubelet" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "unikubelet.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: unikubelet
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "unikubelet.selector" -}}
app.kubernetes.io/name: unikubelet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "unikubelet.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Which Nodes are ours: the agent sets this label. */ -}}
{{- define "unikubelet.release" -}}
{{ printf "%s.%s" .Release.Namespace .Release.Name | trunc 63 | trimSuffix "-" | trimSuffix "." }}
{{- end -}}

{{- /* key: value, or key: [a, b], to --key=a,b */ -}}
{{- define "unikubelet.flags" -}}
{{- range $key, $value := . }}
{{- if kindIs "slice" $value }}
- {{ printf "--%s=%s" $key (join "," $value) | quote }}
{{- else if kindIs "float64" $value }}
- {{ printf "--%s=%s" $key ($value | toJson) | quote }}
{{- else }}
- {{ printf "--%s=%v" $key $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* For containers that need nothing of the host. */ -}}
{{- define "unikubelet.restricted" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* Where unikubelet-host works on the host; the same for installing and for removing. */ -}}
{{- define "unikubelet.host" -}}
- --install={{ .Values.agent.installDir }}
- --cgroup={{ .Values.agent.cgroup }}
- --state-dir={{ .Values.agent.stateDir }}
- --run-dir={{ .Values.agent.runDir }}
- --bridge={{ .Values.agent.bridge }}
{{- end -}}

{{- /* The Pod goes over to the host's mounts, so it mounts nothing but its ServiceAccount. */ -}}
{{- define "unikubelet.hostSecurity" -}}
runAsUser: 0
runAsGroup: 0
{{- if .Values.agent.privileged }}
privileged: true
{{- else }}
# See docs/install.md for what each is needed for.
capabilities:
  drop: [ALL]
  add:
    - CHOWN
    - DAC_OVERRIDE
    - DAC_READ_SEARCH
    - FOWNER
    - KILL
    - MKNOD
    - NET_ADMIN
    - NET_BIND_SERVICE
    - NET_RAW
    - SETGID
    - SETPCAP
    - SETUID
    - SYS_ADMIN
    - SYS_CHROOT
    - SYS_PTRACE
seccompProfile:
  type: Unconfined
appArmorProfile:
  type: Unconfined
seLinuxOptions:
  type: spc_t
{{- end }}
{{- end -}}
