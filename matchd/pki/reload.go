package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
)

const (
	// reloadInterval is how often files are looked at, at most. Whoever renews a certificate does not wait for it.
	reloadInterval = time.Second
	// settle is for how long files that do not fit together are given the time to: a renewal replaces them one after the other.
	settle = 3 * time.Second
)

// Files are the PEM files of a TLS server.
type Files struct {
	Cert string // certificate of the server, followed by intermediate ones
	Key  string // its private key
	CA   string // authorities that sign clients; empty: clients have no certificates
}

// Keys are what the files held when they were read. They never change.
type Keys struct {
	Certificate *tls.Certificate    // with its Leaf
	CAs         []*x509.Certificate // in the order of the file
	ClientCAs   *x509.CertPool      // the same; nil without a CA file
	Generation  uint64              // grows whenever other files are read
}

// Reloader keeps what is in the files of a TLS server, and reads them again when they change. It has no goroutine: whoever uses it has it look, at most once
// a second. Files that cannot be used change nothing and are told to the log, once. It is safe for concurrent use.
type Reloader struct {
	files Files
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	keys   *Keys
	looked time.Time
	seen   signature // of the files that were read last, whether they could be used or not
	since  time.Time // when seen was first found unusable; zero: it is in use
	broken error     // why what is on disk is not in use; nil: it is
	told   bool      // broken was logged
}

// signature tells whether files have changed: a file that is replaced has another time, or another size.
type signature [3]struct {
	modified time.Time
	size     int64
}

// NewReloader reads the files. Errors name the file; one that is missing wraps fs.ErrNotExist. A nil log is slog.Default; now tells the time, nil means [time.Now].
func NewReloader(files Files, log *slog.Logger, now func() time.Time) (*Reloader, error) {
	if log == nil {
		log = slog.Default()
	}
	if now == nil {
		now = time.Now
	}
	r := &Reloader{files: files, log: log, now: now, looked: now()}
	var err error
	if r.seen, err = files.signature(); err != nil {
		return nil, err
	}
	if r.keys, err = files.read(); err != nil {
		return nil, err
	}
	r.keys.Generation = 1
	r.warnOpenKey()
	return r, nil
}

// warnOpenKey tells of a private key that others can read. It is used all the same: other programs may need it, and refusing would not make it secret again.
func (r *Reloader) warnOpenKey() {
	if info, err := os.Stat(r.files.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
		r.log.Warn("a private key can be read by every user of this host", "file", r.files.Key, "mode", fmt.Sprintf("%04o", info.Mode().Perm()), "next", "chmod 600 it, and renew it if somebody may have")
	}
}

// Keys returns what is in use, after a look at the files if the last one is a second ago.
func (r *Reloader) Keys() *Keys {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if age := now.Sub(r.looked); age < 0 || age >= reloadInterval {
		r.looked = now
		r.lookLocked(now)
	}
	return r.keys
}

// GetCertificate returns the server's certificate, for tls.Config.
func (r *Reloader) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.Keys().Certificate, nil
}

// Broken returns why what is on disk is not in use; nil if it is.
func (r *Reloader) Broken() error {
	r.Keys()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told {
		return nil
	}
	return r.broken
}

func (r *Reloader) lookLocked(now time.Time) {
	current, err := r.files.signature()
	if err == nil && current == r.seen && r.broken == nil {
		return
	}
	if err == nil && (current != r.seen || !r.told) {
		var keys *Keys
		if keys, err = r.files.read(); err == nil {
			r.useLocked(keys, current)
			return
		}
	} else if err == nil {
		return // unusable as before
	}
	if current != r.seen || r.broken == nil {
		r.seen, r.since, r.told = current, now, false
	}
	r.broken = err
	if !r.told && now.Sub(r.since) >= settle {
		r.told = true
		r.log.Error("the TLS files cannot be used: the ones before stay in use", "error", err, "expires", r.keys.Certificate.Leaf.NotAfter)
	}
}

func (r *Reloader) useLocked(keys *Keys, current signature) {
	keys.Generation = r.keys.Generation + 1
	r.keys, r.seen, r.broken, r.told = keys, current, nil, false
	r.log.Info("the TLS files have changed and are in use", "certificate", r.files.Cert, "subject", keys.Certificate.Leaf.Subject.String(), "expires", keys.Certificate.Leaf.NotAfter)
	r.warnOpenKey()
}

func (f Files) names() []string {
	if f.CA == "" {
		return []string{f.Cert, f.Key}
	}
	return []string{f.Cert, f.Key, f.CA}
}

// signature of files of which some are missing holds the others.
func (f Files) signature() (signature, error) {
	var s signature
	var missing error
	for i, name := range f.names() {
		info, err := os.Stat(name)
		if err != nil {
			missing = fmt.Errorf("looking at TLS files: %w", err)
			continue
		}
		s[i].modified, s[i].size = info.ModTime(), info.Size()
	}
	return s, missing
}

func (f Files) read() (*Keys, error) {
	var texts [3][]byte
	for i, name := range f.names() {
		var err error
		if texts[i], err = keyfile.Read(name); err != nil {
			return nil, fmt.Errorf("reading TLS files: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s and %s: %w", f.Cert, f.Key, err)
	}
	keys := &Keys{Certificate: &pair}
	if f.CA == "" {
		return keys, nil
	}
	if keys.CAs, err = ParseCerts(texts[2]); err != nil {
		return nil, fault.New(fault.Invalid, "%s: %w", f.CA, err)
	}
	keys.ClientCAs = x509.NewCertPool()
	for _, ca := range keys.CAs {
		keys.ClientCAs.AddCert(ca)
	}
	return keys, nil
}

// Exist reports which of the files there are: all, none or some. The error is one of access.
func (f Files) Exist() (all, none bool, err error) {
	found := 0
	for _, name := range f.names() {
		switch _, err := os.Stat(name); {
		case err == nil:
			found++
		case !errors.Is(err, fs.ErrNotExist):
			return false, false, err
		}
	}
	return found == len(f.names()), found == 0, nil
}
