package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Colours of severities on a terminal (ECMA-48 SGR).
var colours = map[Severity]string{OK: "\x1b[32m", Info: "\x1b[36m", Warn: "\x1b[33m", Error: "\x1b[31m"}

const colourOff = "\x1b[0m"

// report is the JSON form of findings.
type report struct {
	Worst    Severity  `json:"worst"`
	Findings []Finding `json:"findings"`
}

// WriteJSON writes {"worst": …, "findings": […]} and a line break.
func WriteJSON(w io.Writer, findings []Finding) error {
	if findings == nil {
		findings = []Finding{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(report{Worst: Worst(findings), Findings: findings})
}

// WriteText writes one line per finding, the next step below it, and a summary. Colour is for terminals.
func WriteText(w io.Writer, findings []Finding, colour bool) error {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Subject))
	}
	const widest = 34 // a longer subject pushes its own line only
	width = min(width, widest)

	var b strings.Builder
	counts := make(map[Severity]int)
	for _, f := range findings {
		counts[f.Severity]++
		tag := fmt.Sprintf("%-5s", f.Severity)
		if colour {
			tag = colours[f.Severity] + tag + colourOff
		}
		fmt.Fprintf(&b, "%s  %-*s  %s\n", tag, width, f.Subject, f.What)
		if f.Next != "" {
			fmt.Fprintf(&b, "       %-*s  → %s\n", width, "", f.Next)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", summary(counts))
	_, err := io.WriteString(w, b.String())
	return err
}

func summary(counts map[Severity]int) string {
	switch {
	case counts[Error] == 0 && counts[Warn] == 0:
		return "Nothing here would stop a boot."
	case counts[Error] == 0:
		return fmt.Sprintf("Boots should work; %s to look at.", plural(counts[Warn], "warning"))
	}
	return fmt.Sprintf("%s would stop boots here, %s.", plural(counts[Error], "error"), plural(counts[Warn], "warning"))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
