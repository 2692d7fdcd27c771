package boot

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/cavaliergopher/cpio"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/profiles"
)

// ConfigImageName is the name of the initrd that holds a machine's config, for the command line and for paths.
const ConfigImageName = "config.img"

// configImagePath is where the image is asked for with the labels of the script's request.
const configImagePath = "/v1/" + ConfigImageName

// ConfigImage is an initrd image that holds an Ignition config.
type ConfigImage struct {
	Image  []byte  // a newc archive as gzip, the same bytes for the same config and profile's os
	Digest string  // SHA-256 of Image, in hexadecimal
	Config *Config // what is in it
}

// ETag returns the image's entity tag. It is not the config's: each os has its config elsewhere in the archive.
func (i *ConfigImage) ETag() string { return `"` + i.Digest + `"` }

// Event returns the event of an image that was sent.
func (i *ConfigImage) Event() event.Event { return i.Config.Event(" in an initrd") }

// ConfigImage returns what [Planner.Ignition] does as an initrd image; errors are the same.
func (p *Planner) ConfigImage(ctx context.Context, ask Ask) (*ConfigImage, error) {
	chosen, err := p.choose(ask, p.asking(ask))
	if err != nil {
		return nil, err
	}
	config, err := p.given(ctx, ask, chosen)
	if err != nil {
		return nil, err
	}
	profile := chosen.selection.Profile
	image, err := configImage(profile.OS, config.JSON)
	if err != nil {
		return nil, fmt.Errorf("writing the initrd of profile %q: %w", profile.ID, err)
	}
	digest := sha256.Sum256(image)
	return &ConfigImage{Image: image, Digest: hex.EncodeToString(digest[:]), Config: config}, nil
}

// configImage writes the archive that the kernel unpacks over the initrds before it: /config.ign is where a Fedora CoreOS live system
// looks, /usr/share/oem/config.ign where Flatcar's PXE image does.
//
// It is wrapped as gzip. A plain archive is only seen where it begins at a multiple of four bytes, and a UEFI kernel that iPXE starts puts its initrds
// together itself, without a gap (init/initramfs.c, unpack_to_rootfs; drivers/firmware/efi/libstub/file.c): after an initrd of another
// length it would be passed over, and the machine would boot without a config. Captured with Debian's iPXE and OVMF. Nothing is compressed, so
// that the same config is the same bytes whatever made it.
func configImage(os string, config []byte) ([]byte, error) {
	var image bytes.Buffer
	wrapped, err := gzip.NewWriterLevel(&image, gzip.NoCompression)
	if err != nil {
		return nil, err
	}
	if err := writeArchive(wrapped, os, config); err != nil {
		return nil, err
	}
	if err := wrapped.Close(); err != nil {
		return nil, err
	}
	return image.Bytes(), nil
}

// writeArchive writes the newc archive that holds a config.
func writeArchive(w io.Writer, os string, config []byte) error {
	name := "config.ign"
	if os == profiles.Flatcar {
		name = "usr/share/oem/config.ign"
	}
	archive := cpio.NewWriter(w)
	inode := int64(0)
	add := func(header cpio.Header, content []byte) error {
		inode++
		header.Inode, header.Links, header.Size = inode, 1, int64(len(content))
		if err := archive.WriteHeader(&header); err != nil {
			return err
		}
		_, err := archive.Write(content)
		return err
	}
	// The kernel makes no parents of its own.
	for i, c := range name {
		if c == '/' {
			if err := add(cpio.Header{Name: name[:i], Mode: cpio.TypeDir | 0o755}, nil); err != nil {
				return err
			}
		}
	}
	if err := add(cpio.Header{Name: name, Mode: cpio.TypeReg | 0o600}, config); err != nil {
		return err
	}
	return archive.Close()
}

// configArgs are the kernel arguments that name a config by URL. Ignition prefers them to a config in the initrd.
var configArgs = [...]string{"ignition.config.url=", "flatcar.config.url=", "coreos.config.url="}

// embedConfig makes the machine's config the plan's last initrd.
func (p *Plan) embedConfig(ask Ask) {
	kept := p.Args[:0]
	for _, arg := range p.Args {
		if !namesConfig(arg) {
			kept = append(kept, arg)
		}
	}
	p.Args = kept
	p.Initrds = append(p.Initrds, Initrd{Name: ConfigImageName, URL: labelledURL(ask, configImagePath), named: true})
}

func namesConfig(arg string) bool {
	for _, prefix := range configArgs {
		if strings.HasPrefix(arg, prefix) {
			return true
		}
	}
	return false
}

// grubInitrd returns where GRUB loads an initrd from. Its own way to us may be TFTP, which knows no labels but the machine's address.
func (p *Plan) grubInitrd(initrd Initrd) string {
	if strings.HasPrefix(initrd.URL, p.BaseURL+configImagePath) {
		return `"/m/${net_default_mac}/` + ConfigImageName + `"`
	}
	return grubLocation(p.absoluteForGRUB(initrd.URL))
}
