#!/bin/sh
# Run by live-config at boot. A Go template like every document: metadata at the root, the machine's labels in .request.query.
set -eu
mac={{.request.query.mac}}
hostname "{{.room}}-$(echo "$mac" | tr -d : | tail -c 5)"
{{- if .home_server}}
mount -t nfs -o ro {{.home_server}}:/homes /home
{{- end}}
