package main

import "os"

// onTerminal says whether somebody looks at the output; files get no colours.
var onTerminal = func() bool {
	info, err := os.Stdout.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
}()

func code(sequence string) string {
	if !onTerminal {
		return ""
	}
	return "\x1b[" + sequence + "m"
}

func bold() string  { return code("1") }
func dim() string   { return code("2") }
func red() string   { return code("31") }
func plain() string { return code("0") }

// colour of an event's level.
func colour(level string) string {
	switch level {
	case "error":
		return code("31")
	case "warn":
		return code("33")
	}
	return ""
}
