package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

// backupTimeout bounds the download of one store from a running daemon.
const backupTimeout = 10 * time.Minute

// storeNames are the stores of a state directory, in the order in which they are worked on.
var storeNames = [...]string{"config", "leases", "events"}

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "back up, restore and check the daemon's state",
		Long: `The state directory holds config.db (the last accepted site), leases.db (addresses) and events.db (timelines).

A backup is a directory with a consistent copy of each. It is taken from a running daemon through its admin listener, or from the
files of a stopped one.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(backupCommand(), restoreCommand(), checkCommand())
	return cmd
}

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "copy the stores to a new directory, from a running or a stopped daemon",
		Long: `Writes config.db, leases.db and events.db to DIR, which must not exist yet. If a daemon answers on the admin address, it makes
the copies while it goes on serving; otherwise the state directory's files are copied.`,
		Example: "  sudo matchd store backup /var/backups/matchd-$(date +%F)",
		Args:    arguments(cobra.ExactArgs(1)),
	}
	return configured(cmd, func(cmd *cobra.Command, cfg matchd.Config, args []string) error {
		return backup(cmd.Context(), cmd.OutOrStdout(), cfg, args[0])
	})
}

// backup fills a temporary directory and renames it, so that DIR is a whole backup or does not exist.
func backup(ctx context.Context, out io.Writer, cfg matchd.Config, dir string) (err error) {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("%s exists: name a new directory", dir)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".matchd-backup-*")
	if err != nil {
		return fmt.Errorf("making the backup's directory: %w", err)
	}
	defer os.RemoveAll(temporary)
	source, from := fileSource(cfg), "the stopped daemon's files in "+cfg.StateDir
	if running(ctx, cfg.Admin) {
		source, from = adminSource(cfg.Admin), "the daemon running at "+cfg.Admin
	}
	for _, name := range storeNames {
		if err := writeFile(filepath.Join(temporary, name+".db"), func(w io.Writer) error { return source(ctx, name, w) }); err != nil {
			return fmt.Errorf("backing up %s from %s: %w", name, from, err)
		}
	}
	if err := os.Rename(temporary, dir); err != nil {
		return fmt.Errorf("finishing the backup: %w", err)
	}
	fmt.Fprintf(out, "backed up %s from %s to %s\n", strings.Join(storeNames[:], ", "), from, dir)
	return nil
}

type storeSource func(ctx context.Context, name string, w io.Writer) error

func fileSource(cfg matchd.Config) storeSource {
	return func(_ context.Context, name string, w io.Writer) error {
		opened, err := openStore(cfg.StateDir, name)
		if err != nil {
			return err
		}
		defer opened.Close()
		_, err = opened.Backup(w)
		return err
	}
}

// running reports whether a daemon answers on the admin address.
func running(ctx context.Context, admin string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	response, err := get(ctx, admin, "/healthz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func adminSource(admin string) storeSource {
	return func(ctx context.Context, name string, w io.Writer) error {
		ctx, cancel := context.WithTimeout(ctx, backupTimeout)
		defer cancel()
		response, err := get(ctx, admin, "/v1/store/"+name+"/backup")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("the admin listener answers %s", response.Status)
		}
		_, err = io.Copy(w, response.Body)
		return err
	}
}

func get(ctx context.Context, admin, path string) (*http.Response, error) {
	if strings.HasPrefix(admin, ":") {
		admin = "127.0.0.1" + admin
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(request)
}

func writeFile(name string, write func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		file.Close()
		return err
	}
	if err := file.Sync(); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

func openStore(dir, name string) (*boltstore.Store, error) {
	path := filepath.Join(dir, name+".db")
	if _, err := os.Stat(path); err != nil {
		return nil, err // opening would make a new, empty one
	}
	return boltstore.Open(path, boltstore.Options{Name: name})
}
