package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/assets"
)

func versionCommand() *cobra.Command {
	var loaders bool
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version, and with --loaders the network boot programs",
		Long: `Prints the version of this binary.

With --loaders it lists every network boot program that it can hand out: file, package and version that it comes from, licence,
where the corresponding source is, SHA-256, and whether it is inside the binary or in a directory of this host.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput("version", output); err != nil {
				return err
			}
			if !loaders {
				return writeVersion(cmd.OutOrStdout(), output)
			}
			return writeLoaders(cmd.OutOrStdout(), output)
		},
	}
	cmd.Flags().BoolVar(&loaders, "loaders", false, "list the network boot programs")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func writeVersion(out io.Writer, output string) error {
	if output == "json" {
		return json.NewEncoder(out).Encode(map[string]string{"version": version, "built": built, "go": runtime.Version()})
	}
	_, err := fmt.Fprintf(out, "matchd %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

func writeLoaders(out io.Writer, output string) error {
	all, err := assets.NewLoaders(assets.LoaderOptions{})
	if err != nil {
		return err
	}
	list, err := all.List()
	if err != nil {
		return err
	}
	if output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(list)
	}
	if all.Embedded() == 0 {
		fmt.Fprintln(out, "No network boot programs are inside this binary; those below are this host's.")
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILE\tPACKAGE\tVERSION\tLICENCE\tSOURCE\tFROM\tSHA256")
	for _, l := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.File, l.Package, l.Version, l.Licence, join(l.Source, l.SourceVersion), l.Origin, l.SHA256.Hex())
	}
	return table.Flush()
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + " " + b
}
