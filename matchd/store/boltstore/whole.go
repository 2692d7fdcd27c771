package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/matchd/matchd/matchd/fault"
)

// Layout of a bolt meta page (bbolt internal/common: Page, Meta): a page header of 16 bytes, then the fields below.
const (
	metaMagic      = 0xED0CDAED
	metaMagicAt    = 16
	metaPageSizeAt = 24
	metaPagesAt    = 56 // pages in use
	metaTxidAt     = 64
	metaSize       = 80
	maxPageSize    = 64 << 10
)

// checkWhole refuses a file that is shorter than it says, such as a download that broke off: touching the missing
// part, which bolt maps into memory, would kill the process. A file that is not there or empty is whole.
func checkWhole(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fault.New(fault.Invalid, "%s is not a file", path)
	}
	if info.Size() == 0 {
		return nil
	}
	wanted, err := sizeInMeta(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if info.Size() < wanted {
		return fault.New(fault.Invalid, "%s is cut off: it has %d of %d bytes", path, info.Size(), wanted)
	}
	return nil
}

// sizeInMeta returns the size that the file needs according to the newer of its two meta pages, 0 if neither can be read:
// bolt itself refuses such a file.
func sizeInMeta(f io.ReaderAt) (int64, error) {
	var size int64
	var newest uint64
	at, page := int64(0), make([]byte, metaSize)
	for range 2 {
		n, err := f.ReadAt(page, at)
		if n < metaSize {
			return size, ignoreEOF(err)
		}
		pageSize := int64(binary.NativeEndian.Uint32(page[metaPageSizeAt:]))
		if binary.NativeEndian.Uint32(page[metaMagicAt:]) != metaMagic || pageSize < metaSize || pageSize > maxPageSize {
			return size, nil
		}
		if txid := binary.NativeEndian.Uint64(page[metaTxidAt:]); txid >= newest {
			newest = txid
			size = int64(binary.NativeEndian.Uint64(page[metaPagesAt:])) * pageSize
		}
		at = pageSize
	}
	return size, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
