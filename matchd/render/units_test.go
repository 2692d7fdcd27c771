package render

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
)

// realUnits are such as people write; none of them has a mistake.
func realUnits() map[string]string {
	return map[string]string{
		"kubelet.service": `[Unit]
Description=Kubelet (System Container)
Wants=rpc-statd.service
After=network-online.target
[Service]
Environment=KUBELET_IMAGE=quay.io/poseidon/kubelet:v1.36.1
Environment="A=b c" 'D=e'
ExecStartPre=/bin/mkdir -p /etc/kubernetes/cni/net.d
ExecStartPre=/usr/bin/bash -c "grep 'certificate-authority-data' /etc/kubernetes/kubeconfig | awk '{print $2}' | base64 -d > /etc/kubernetes/ca.crt"
ExecStartPre=-/usr/bin/podman rm kubelet
ExecStart=/usr/bin/podman run --name kubelet \
  --log-driver k8s-file \
  --pid host \
  --volume /etc/cni/net.d:/etc/cni/net.d:ro,z \
  ${KUBELET_IMAGE} \
  --node-labels=node.kubernetes.io/node
ExecStop=-/usr/bin/podman stop kubelet
Delegate=yes
Restart=always
RestartSec=10
[Install]
WantedBy=multi-user.target
`,
		"install.service":          "[Unit]\nX-Reason=for other programs\n\n[X-Own]\nkey=value\n[Service]\nType=oneshot\nExecStart=\nExecStart=/opt/install\n",
		"var-lib-data.mount":       "# data\n[Unit]\nDescription=Data\n[Mount]\nWhat=/dev/disk/by-label/data\nWhere=/var/lib/data\nType=xfs\n[Install]\nRequiredBy=local-fs.target\n",
		"sshd.socket":              "[Socket]\r\nListenStream=22\r\nAccept=no\r\n",
		"etcd-member.path":         "[Path]\n  PathExists=/etc/kubernetes/kubeconfig\n[Install]\nWantedBy=multi-user.target",
		"fstrim.timer":             "[Timer]\nOnCalendar=weekly\n",
		"getty@.service":           "[Service]\nExecStart=-/sbin/agetty -o '-p -- \\\\u' --noclear %I $TERM\n",
		"user-1000.slice":          "[Slice]\nMemoryMax=50%\n",
		"app.container":            "",
		"swap-file.swap":           "[Swap]\nWhat=/swapfile\n",
		"systemd-resolved.service": "[Service]\nEnvironment=SYSTEMD_LOG_LEVEL=debug",
	}
}

func TestRealUnitsAreAccepted(t *testing.T) {
	for name, text := range realUnits() {
		if problems := checkUnit(name, text); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// commentWithin finds a comment between the lines of one value. systemd skips it, go-systemd takes it for the value's last line; Ignition then
// refuses the config, in words of its own.
var commentWithin = regexp.MustCompile(`\\\r?\n[ \t]*[#;]`)

// FuzzUnit compares with go-systemd's parser, which Ignition uses: what passes here passes there. That the other way round does not hold is the
// reason why units are read by code of our own besides.
func FuzzUnit(f *testing.F) {
	for name, text := range realUnits() {
		f.Add(name, text)
	}
	f.Add("a.service", "[Unit")
	f.Add("a.service", "Unit]\nfoo")
	f.Add("a.service", "[Unit]\nKey\n")
	f.Fuzz(func(t *testing.T, name, text string) {
		if len(text) > MaxDocument || len(checkUnit(name, text)) > 0 || commentWithin.MatchString(text) {
			return
		}
		options, err := unit.DeserializeOptions(strings.NewReader(text))
		if err != nil && !errors.Is(err, unit.ErrLineTooLong) {
			t.Errorf("%q is accepted here, and there: %v", text, err)
		}
		for _, option := range options {
			if option.Name == "" || !strings.HasPrefix(option.Section, "X-") && option.Section != strings.TrimSpace(option.Section) {
				t.Errorf("%q is read as %q of [%s]", text, option.Name, option.Section)
			}
		}
	})
}
