package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/pki"
)

func pkiShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "list the certificates of a directory, and until when they are good",
		Long: `Lists every certificate (*.crt) of the directory: what it is for, who it names, until when it is good, and its SHA-256 fingerprint.
The exit status is 1 if one has expired, ends within 30 days, or is not signed by the authority there.`,
		Args: arguments(cobra.NoArgs),
	}
	dir := pkiDir(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return showCertificates(cmd.OutOrStdout(), *dir, time.Now())
	}
	return cmd
}

func showCertificates(out io.Writer, dir string, now time.Time) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("there is no certificate in %s: \"matchd pki init\" makes them; if they are elsewhere, name it by --dir", dir)
	}
	slices.Sort(files)
	var ca *x509.Certificate
	if text, err := keyfile.Read(filepath.Join(dir, pki.CACert)); err == nil {
		if certs, err := pki.ParseCerts(text); err == nil {
			ca = certs[0]
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILE\tFOR\tUNTIL\tFINGERPRINT\tREMARK")
	problems := false
	for _, file := range files {
		cert, err := readCertificate(file)
		if err != nil {
			fmt.Fprintf(table, "%s\t\t\t\t%v\n", filepath.Base(file), err)
			problems = true
			continue
		}
		remark := remarkOn(cert, ca, file, now)
		problems = problems || remark != ""
		sum := sha256.Sum256(cert.Raw)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", filepath.Base(file), purpose(cert), cert.NotAfter.UTC().Format(time.DateOnly), hex.EncodeToString(sum[:]), remark)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if problems {
		return errProblem
	}
	return nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	text, err := keyfile.Read(file)
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParseCerts(text)
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

// purpose says what a certificate is for and whom it names.
func purpose(cert *x509.Certificate) string {
	switch {
	case cert.IsCA:
		return "authority " + cert.Subject.CommonName
	case slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		id, err := auth.FromCertificate(cert, "")
		if err != nil {
			return fmt.Sprintf("client %q, no role", cert.Subject.CommonName)
		}
		return "client " + id.Name + ", " + strings.TrimPrefix(describeIdentity(id), "has the role ")
	}
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return "server " + strings.Join(names, ", ")
}

// remarkOn says what is wrong with a certificate, or will be soon.
func remarkOn(cert, ca *x509.Certificate, file string, now time.Time) string {
	var remarks []string
	switch left := cert.NotAfter.Sub(now); {
	case left <= 0:
		remarks = append(remarks, "expired")
	case left < pki.ExpiryWarning:
		remarks = append(remarks, fmt.Sprintf("%d days left", int(left/day)))
	}
	if ca != nil && !cert.IsCA && cert.CheckSignatureFrom(ca) != nil {
		remarks = append(remarks, "not signed by "+pki.CACert)
	}
	key := strings.TrimSuffix(file, ".crt") + ".key"
	if info, err := os.Stat(key); err == nil && info.Mode().Perm()&^keyfile.Secret != 0 {
		remarks = append(remarks, fmt.Sprintf("others can use %s (mode %04o)", filepath.Base(key), info.Mode().Perm()))
	}
	return strings.Join(remarks, "; ")
}
