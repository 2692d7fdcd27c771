package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
)

// fileLook is how often files are looked at for changes, at most: when a certificate is asked for.
const fileLook = 5 * time.Second

// LeafFiles names a server's certificate in PEM files that somebody else renews.
type LeafFiles struct {
	Cert string // the server's own, then those that lead to the authority
	Key  string
	CA   string // what clients shall trust; empty: what they trust already
}

// FileLeaf is a server's certificate out of files. Changed files are taken over when a client comes; files that are broken then are not, so that
// half a renewal keeps nobody out.
type FileLeaf struct {
	files LeafFiles
	log   *slog.Logger

	mu     sync.Mutex
	leaf   loadedLeaf
	stamp  string    // of the files as they were last read, whether or not they were of use
	looked time.Time // at the files
}

type loadedLeaf struct {
	cert *tls.Certificate
	ca   []byte
}

// OpenFileLeaf reads the files. The error is of kind Invalid if they do not belong together: a key of another certificate, or a CA that did not sign it.
func OpenFileLeaf(files LeafFiles, log *slog.Logger) (*FileLeaf, error) {
	f := &FileLeaf{files: files, log: log, looked: time.Now(), stamp: files.stamp()}
	var err error
	f.leaf, err = files.load()
	return f, err
}

// GetCertificate returns the certificate, for tls.Config.
func (f *FileLeaf) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current().cert, nil
}

// CA returns the PEM of what clients shall trust; empty if that is what they trust already.
func (f *FileLeaf) CA() []byte { return f.current().ca }

// Ends returns when the certificate does.
func (f *FileLeaf) Ends() time.Time { return f.current().cert.Leaf.NotAfter }

// Certificate returns the server's own certificate, without those that lead to the authority. It must not be changed.
func (f *FileLeaf) Certificate() *x509.Certificate { return f.current().cert.Leaf }

func (f *FileLeaf) current() loadedLeaf {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if since := now.Sub(f.looked); since >= 0 && since < fileLook {
		return f.leaf
	}
	f.looked = now
	stamp := f.files.stamp()
	if stamp == f.stamp {
		return f.leaf
	}
	f.stamp = stamp
	fresh, err := f.files.load()
	if err != nil {
		f.log.Error("the new certificate is of no use, the old one is shown further on", "cert", f.files.Cert, "error", err)
		return f.leaf
	}
	f.leaf = fresh
	f.log.Info("took over a new certificate", "cert", f.files.Cert, "ends", fresh.cert.Leaf.NotAfter)
	return f.leaf
}

// stamp tells whether any of the files is another than before.
func (l LeafFiles) stamp() string {
	stamp := ""
	for _, name := range []string{l.Cert, l.Key, l.CA} {
		if info, err := os.Stat(name); err == nil {
			stamp += fmt.Sprintf("%d %d,", info.Size(), info.ModTime().UnixNano())
		} else {
			stamp += "-,"
		}
	}
	return stamp
}

func (l LeafFiles) load() (loadedLeaf, error) {
	certPEM, err := keyfile.Read(l.Cert)
	if err != nil {
		return loadedLeaf{}, fmt.Errorf("reading a server's certificate: %w", err)
	}
	keyPEM, err := keyfile.Read(l.Key)
	if err != nil {
		return loadedLeaf{}, fmt.Errorf("reading a server's key: %w", err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return loadedLeaf{}, fault.New(fault.Invalid, "reading %s and %s: %w", l.Cert, l.Key, err)
	}
	if l.CA == "" {
		return loadedLeaf{cert: &cert}, nil
	}
	ca, err := keyfile.Read(l.CA)
	if err != nil {
		return loadedLeaf{}, fmt.Errorf("reading a certificate authority: %w", err)
	}
	authorities, err := ParseCerts(ca)
	if err != nil {
		return loadedLeaf{}, fmt.Errorf("reading %s: %w", l.CA, err)
	}
	if err := leads(&cert, authorities); err != nil {
		return loadedLeaf{}, fault.New(fault.Invalid, "%s does not lead to %s, so that no client would believe it: %w", l.Cert, l.CA, err)
	}
	return loadedLeaf{cert: &cert, ca: ca}, nil
}

// leads checks that the certificate's chain ends at one of the authorities. When it ends is another matter.
func leads(cert *tls.Certificate, authorities []*x509.Certificate) error {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: cert.Leaf.NotBefore}
	for _, authority := range authorities {
		options.Roots.AddCert(authority)
		if authority.NotBefore.After(options.CurrentTime) {
			options.CurrentTime = authority.NotBefore
		}
	}
	for _, der := range cert.Certificate[1:] {
		between, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		options.Intermediates.AddCert(between)
	}
	_, err := cert.Leaf.Verify(options)
	return err
}
