package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore DIR",
		Short: "replace the stores of a stopped daemon by a backup",
		Long: `Checks every file of a backup made by "matchd store backup", and only when all are sound replaces the state directory's files.
A replaced file stays beside the new one, with the ending .before-restore. The daemon must be stopped.

With a site directory the site is applied again at the next start: what is restored of it then matters only while it is broken.`,
		Example: "  sudo systemctl stop matchd && sudo matchd store restore /var/backups/matchd-2026-11-23",
		Args:    arguments(cobra.ExactArgs(1)),
	}
	return configured(cmd, func(cmd *cobra.Command, cfg matchd.Config, args []string) error {
		return restore(cmd.Context(), cmd.OutOrStdout(), cfg, args[0])
	})
}

func restore(ctx context.Context, out io.Writer, cfg matchd.Config, dir string) error {
	if running(ctx, cfg.Admin) {
		return fmt.Errorf("a daemon is running at %s: stop it first, it would go on writing the old files", cfg.Admin)
	}
	for _, name := range storeNames {
		summary, err := boltstore.CheckFile(filepath.Join(dir, name+".db"))
		if err == nil {
			err = summary.Err()
		}
		if err != nil {
			return fmt.Errorf("nothing was restored: %w", err)
		}
	}
	if err := os.MkdirAll(cfg.StateDir, 0o750); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	for _, name := range storeNames {
		summary, err := boltstore.Restore(filepath.Join(cfg.StateDir, name+".db"), filepath.Join(dir, name+".db"))
		if err != nil {
			return err
		}
		if err := giveToDaemon(cfg.StateDir, name+".db"); err != nil {
			return err
		}
		fmt.Fprintf(out, "restored %s: revision %d, %d records\n", name, summary.Revision, summary.Records)
	}
	return nil
}

// giveToDaemon makes the owner of the state directory own a file in it: root restores, the daemon may run as somebody else, and systemd's
// DynamicUser changes owners only while the directory itself has the wrong one.
func giveToDaemon(dir, name string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking for the state directory's owner: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(filepath.Join(dir, name), int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("giving the restored file to the daemon: %w", err)
	}
	return nil
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "examine the stores for damage",
		Long: `Examines the structure of every store and that every record can be read: those of a backup in DIR, else those of the state
directory. A running daemon's stores are examined as of now, from a copy.

Exit status: 0 sound, 1 damaged or unreadable.`,
		Args: arguments(cobra.MaximumNArgs(1)),
	}
	return configured(cmd, func(cmd *cobra.Command, cfg matchd.Config, args []string) error {
		if len(args) == 1 {
			return checkDir(cmd.OutOrStdout(), args[0])
		}
		if running(cmd.Context(), cfg.Admin) {
			return checkRunning(cmd.Context(), cmd.OutOrStdout(), cfg)
		}
		return checkDir(cmd.OutOrStdout(), cfg.StateDir)
	})
}

// checkRunning examines a backup of the running daemon's stores, which it removes again.
func checkRunning(ctx context.Context, out io.Writer, cfg matchd.Config) (err error) {
	dir, err := os.MkdirTemp("", "matchd-check-*")
	if err != nil {
		return fmt.Errorf("making room for a copy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copied := filepath.Join(dir, "copy")
	if err := backup(ctx, io.Discard, cfg, copied); err != nil {
		return err
	}
	return checkDir(out, copied)
}

// checkDir examines all stores, though the first may be damaged already.
func checkDir(out io.Writer, dir string) error {
	damaged := false
	for _, name := range storeNames {
		summary, err := boltstore.CheckFile(filepath.Join(dir, name+".db"))
		switch {
		case err != nil:
			damaged = true
			fmt.Fprintf(out, "%s: cannot be read: %v\n", name, err)
		case len(summary.Problems) > 0:
			damaged = true
			for _, problem := range summary.Problems {
				fmt.Fprintf(out, "%s: %s\n", name, problem)
			}
		default:
			fmt.Fprintf(out, "%s: sound, revision %d, %d records, %d bytes\n", name, summary.Revision, summary.Records, summary.Bytes)
		}
	}
	if damaged {
		return errProblem
	}
	return nil
}
