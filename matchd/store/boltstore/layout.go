package boltstore

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// Schema is the version of the file's layout that this code writes.
const Schema = 1

// The file has two buckets: meta (schema, name, revision) and records (key → revision, then the value).
var (
	metaBucket   = []byte("meta")
	recordBucket = []byte("records")
	schemaKey    = []byte("schema")   // decimal text
	nameKey      = []byte("name")     // what the file is for
	revisionKey  = []byte("revision") // as below
)

const revisionSize = 8 // big endian

// layout is a schema version with the steps that lead to it.
type layout struct {
	schema int
	steps  map[int]func(*bolt.Tx) error // by the version that a step starts from; it leads to the next one
}

var current = layout{schema: Schema}

// prepare brings the file to the layout and returns its revision.
func (l *layout) prepare(db *bolt.DB, name string) (store.Revision, error) {
	found, err := inspect(db, name)
	if err != nil {
		return 0, err
	}
	if err := l.acceptable(found.schema); err != nil {
		return 0, err
	}
	if found.schema == l.schema && (found.name == name || name == "") {
		return found.revision, nil
	}
	if found.schema > 0 && found.schema < l.schema {
		if err := backupBeside(db, found.schema); err != nil {
			return 0, fmt.Errorf("keeping a backup before migrating: %w", err)
		}
	}
	err = db.Update(func(tx *bolt.Tx) error { return l.migrate(tx, found.schema, name) })
	return found.revision, err
}

// header is what a file says about itself; the zero value is that of a new file.
type header struct {
	schema   int
	name     string
	revision store.Revision
}

// inspect reads a file's header. It refuses a bolt file that is not ours and one whose name is another than the wanted.
func inspect(db *bolt.DB, wantName string) (found header, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if first, _ := tx.Cursor().First(); first != nil {
				return fault.New(fault.Invalid, "the file belongs to another program: it has a bucket %q", first)
			}
			return nil
		}
		found.name = string(meta.Get(nameKey))
		if wantName != "" && found.name != "" && found.name != wantName {
			return fault.New(fault.Invalid, "the file is the store of %q, not of %q", found.name, wantName)
		}
		found.schema, err = strconv.Atoi(string(meta.Get(schemaKey)))
		if err != nil || found.schema < 1 || tx.Bucket(recordBucket) == nil {
			return fault.New(fault.Invalid, "the file is not a store of matchd, or is damaged: schema %q", meta.Get(schemaKey))
		}
		found.revision = readRevision(tx)
		return nil
	})
	return found, err
}

func (l *layout) acceptable(schema int) error {
	if schema > l.schema {
		return fault.New(fault.Invalid, "the file has schema %d, this version of matchd knows schemas up to %d: "+
			"run the version that wrote it, or restore a backup from before the upgrade", schema, l.schema)
	}
	return nil
}

// migrate goes from the given schema, 0 for a new file, to the layout's, in one transaction.
func (l *layout) migrate(tx *bolt.Tx, from int, name string) error {
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucketIfNotExists(recordBucket); err != nil {
		return err
	}
	for v := from; from > 0 && v < l.schema; v++ {
		step := l.steps[v]
		if step == nil {
			return fault.New(fault.Invalid, "there is no way from schema %d to %d", v, l.schema)
		}
		if err := step(tx); err != nil {
			return fmt.Errorf("migrating from schema %d: %w", v, err)
		}
	}
	if name != "" {
		if err := meta.Put(nameKey, []byte(name)); err != nil {
			return err
		}
	}
	return meta.Put(schemaKey, []byte(strconv.Itoa(l.schema)))
}

// backupBeside copies the file to one that tells its schema. One that is there already is from a migration that did not
// finish, and is as good.
func backupBeside(db *bolt.DB, schema int) error {
	path := fmt.Sprintf("%s.schema-%d.bak", db.Path(), schema)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return replaceFile(path, func(f *os.File) error {
		return db.View(func(tx *bolt.Tx) error {
			_, err := tx.WriteTo(f)
			return err
		})
	})
}
