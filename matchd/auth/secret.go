// Package auth says who may have what. It makes and checks boot tickets: proofs, carried by a machine, that this server gave them out for
// that machine. It knows no wire.
package auth

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
)

// secretSize is the size of a secret and of every key derived from it, in bytes: as much as HMAC-SHA256 can use (RFC 2104 section 3).
const secretSize = 32

// Secret is what only this server knows. It signs nothing itself: every purpose has a key of its own, so that what is made for one is worth
// nothing for another.
type Secret struct{ bytes []byte }

// OpenSecret reads the secret of a file that only its owner may read, and makes one where there is none. It is not in backups: what it
// signed lives for a day, and whoever has it can sign.
func OpenSecret(file string) (*Secret, error) {
	content, err := keyfile.ReadOrCreate(file, func() ([]byte, error) {
		fresh := make([]byte, secretSize)
		_, err := rand.Read(fresh)
		return fresh, err
	})
	if err != nil {
		return nil, fmt.Errorf("opening the server's secret: %w", err)
	}
	return NewSecret(content)
}

// NewSecret returns a secret of exactly 32 random bytes; the error is of kind Invalid.
func NewSecret(random []byte) (*Secret, error) {
	if len(random) != secretSize {
		return nil, fault.New(fault.Invalid, "the server's secret has %d bytes, not %d: move its file away to have a new one made; tickets that are out are refused then", len(random), secretSize)
	}
	return &Secret{bytes: random}, nil
}

// key derives the key for one purpose (HKDF with SHA-256, RFC 5869; the secret is uniformly random and needs no salt).
func (s *Secret) key(purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, s.bytes, nil, purpose, secretSize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key for %s: %w", purpose, err)
	}
	return key, nil
}
