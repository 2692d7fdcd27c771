package firmware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// TFTP options of each reader (captured).
var (
	edk2TFTP  = TFTPRequest{BlockSize: 1468, WindowSize: 4}
	romTFTP   = TFTPRequest{BlockSize: 1456}
	ubootTFTP = TFTPRequest{BlockSize: 1468}
	ipxeTFTP  = TFTPRequest{BlockSize: 1432}
	shimTFTP  = TFTPRequest{BlockSize: 512, WindowSize: 4}
	grubTFTP  = TFTPRequest{BlockSize: 1024}
)

// maxBody bounds what is read of one file by HTTP, bytes: the greatest loaders and scripts are far below.
const maxBody = 64 << 20

var errNoWire = errors.New("there is no network for it")

// load fetches what the firmware decided on and plays what it turns out to be.
func (r *run) load(ctx context.Context, t target) {
	if r.model.userClass != "" {
		r.chain(ctx, t.url())
		return
	}
	fetch := r.fetchBoot
	if isURL(t.file) {
		fetch = r.fetchEFI
	}
	size, err := fetch(ctx, t)
	if err != nil {
		r.fail("cannot load %s: %v", t.url(), err)
		return
	}
	r.add(Step{Actor: string(r.machine.Kind), Text: "has " + t.url(), Bytes: size})
	r.start(ctx, t)
}

// start plays a network boot program by its name, as only the name tells what it is.
func (r *run) start(ctx context.Context, t target) {
	name := strings.ToLower(path.Base(t.file))
	switch {
	case strings.Contains(name, "ipxe") || strings.Contains(name, "undionly") || strings.Contains(name, "snponly") || strings.HasPrefix(name, "snp"):
		r.startIPXE(ctx, t)
	case strings.Contains(name, "shim"):
		r.startShim(ctx, t)
	case strings.Contains(name, "grub"):
		r.startGRUB(ctx, t)
	default:
		r.trace.Reason = fmt.Sprintf("starts %s, of which nothing more is known here", t.url())
		r.step("%s", r.trace.Reason)
	}
}

// fetchBoot loads by TFTP as firmware does: EDK2 and BIOS ROMs ask for the size first and abort (FIRMWARE fact 9).
func (r *run) fetchBoot(ctx context.Context, t target) (size int64, err error) {
	options := edk2TFTP
	switch r.machine.Kind {
	case BIOS:
		options = romTFTP
	case UBoot, UBootPXE:
		options = ubootTFTP
	}
	if r.machine.Kind != UBoot && r.machine.Kind != UBootPXE {
		probe := options
		probe.SizeOnly = true
		if _, _, err := r.tftp(ctx, t, probe); err != nil {
			return 0, fmt.Errorf("asking its size: %w", err)
		}
	}
	data, _, err := r.tftp(ctx, t, options)
	return int64(len(data)), err
}

func (r *run) tftp(ctx context.Context, t target, options TFTPRequest) (data []byte, size int64, err error) {
	if r.wires.TFTP == nil {
		return nil, 0, errNoWire
	}
	options.Server, options.Client, options.File = t.server, r.trace.Address, t.file
	return r.wires.TFTP.Read(ctx, options)
}

// fetchEFI loads by HTTP as HttpBootDxe does: HEAD, then GET; the type by Content-Type, else by the path's last four characters
// (FIRMWARE facts 17, 18). It follows no redirect.
func (r *run) fetchEFI(ctx context.Context, t target) (size int64, err error) {
	location := t.file
	head, err := r.http(ctx, http.MethodHead, location, nil)
	if err != nil {
		return 0, err
	}
	_ = head.Body.Close()
	if head.ContentLength < 0 {
		r.step("HEAD tells no length")
	}
	if !isEFI(head, location) {
		return 0, fmt.Errorf("neither its type %q nor its name says that it is a boot image", head.Header.Get("Content-Type"))
	}
	data, err := r.get(ctx, location)
	return int64(len(data)), err
}

func isEFI(response *http.Response, location string) bool {
	switch response.Header.Get("Content-Type") {
	case "application/efi", "application/vnd.efi-iso", "application/vnd.efi-img":
		return true
	}
	u, err := url.Parse(location)
	if err != nil || len(u.Path) < 4 {
		return false
	}
	switch strings.ToLower(u.Path[len(u.Path)-4:]) {
	case ".efi", ".iso", ".img":
		return true
	}
	return false
}

func (r *run) http(ctx context.Context, method, location string, header http.Header) (*http.Response, error) {
	if r.wires.HTTP == nil {
		return nil, errNoWire
	}
	request, err := http.NewRequestWithContext(ctx, method, location, nil)
	if err != nil {
		return nil, err
	}
	request.Host = request.URL.Hostname() // EDK2 leaves the port out (captured)
	maps.Copy(request.Header, header)
	response, err := r.wires.HTTP.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s answers %s", method, response.Status)
	}
	return response, nil
}

func (r *run) get(ctx context.Context, location string) ([]byte, error) {
	return r.getWith(ctx, location, nil)
}

func (r *run) getWith(ctx context.Context, location string, header http.Header) ([]byte, error) {
	response, err := r.http(ctx, http.MethodGet, location, header)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, maxBody))
}

// fetch reads a URL, for iPXE and for GRUB's devices.
func (r *run) fetch(ctx context.Context, location string, options TFTPRequest) ([]byte, error) {
	t, err := targetOf(location)
	if err != nil {
		return nil, err
	}
	if isURL(t.file) {
		return r.get(ctx, location)
	}
	data, _, err := r.tftp(ctx, t, options)
	return data, err
}

// targetOf takes a URL apart.
func targetOf(location string) (target, error) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "tftp" {
		return target{file: location}, err
	}
	server, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return target{}, fmt.Errorf("%q is not an address", u.Hostname())
	}
	return target{server: server, file: strings.TrimPrefix(u.Path, "/")}, nil
}

// image fetches a kernel or an initrd and tells so. It reports whether the machine has it.
func (r *run) image(ctx context.Context, actor, kind, location string, options TFTPRequest) bool {
	size, err := r.fetchImage(ctx, location, options)
	switch {
	case errors.Is(err, ErrElsewhere):
		r.stepOf(actor, "takes the %s %s to be there: %v", kind, location, err)
	case err != nil:
		r.stepOf(actor, "cannot load %s: %v", location, err)
		r.trace.Missing = append(r.trace.Missing, fmt.Sprintf("the %s %s: %v", kind, location, err))
		return false
	default:
		r.add(Step{Actor: actor, Text: "has the " + kind + " " + location, Bytes: max(size, 0)})
	}
	if kind == "initrd" {
		r.trace.Initrd = append(r.trace.Initrd, location)
	}
	return true
}

func (r *run) fetchImage(ctx context.Context, location string, options TFTPRequest) (size int64, err error) {
	t, err := targetOf(location)
	if err != nil {
		return 0, err
	}
	if !isURL(t.file) {
		options.SizeOnly = r.options.Sizes
		_, size, err = r.tftp(ctx, t, options)
		return size, err
	}
	if !r.options.Sizes {
		data, err := r.get(ctx, location)
		return int64(len(data)), err
	}
	response, err := r.http(ctx, http.MethodHead, location, nil)
	if err != nil {
		return 0, err
	}
	return response.ContentLength, response.Body.Close()
}
