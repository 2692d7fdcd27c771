package render_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/sprig/v3"

	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// refused lists sprig's functions that templates do not have, with the reason. A function that is in neither list is new: decide.
var refused = map[string]string{
	"ago": "time", "date": "time", "date_in_zone": "time", "date_modify": "time", "dateInZone": "time", "dateModify": "time",
	"durationRound": "time", "htmlDate": "time", "htmlDateInZone": "time", "must_date_modify": "time", "mustDateModify": "time",
	"mustToDate": "the host's time zone", "now": "time", "toDate": "the host's time zone", "unixEpoch": "time",
	"randAlphaNum": "chance", "randAlpha": "chance", "randAscii": "chance", "randNumeric": "chance", "randInt": "chance", "randBytes": "chance",
	"shuffle": "chance", "uuidv4": "chance", "bcrypt": "chance", "htpasswd": "chance", "encryptAES": "chance",
	"genPrivateKey": "chance", "genCA": "chance", "genCAWithKey": "chance", "genSelfSignedCert": "chance",
	"genSelfSignedCertWithKey": "chance", "genSignedCert": "chance", "genSignedCertWithKey": "chance",
	"env": "environment", "expandenv": "environment", "getHostByName": "network",
	"derivePassword": "keys", "buildCustomCert": "keys", "decryptAES": "keys",
	"set": "changes data", "unset": "changes data", "merge": "changes data", "mergeOverwrite": "changes data", "mustMerge": "changes data",
	"mustMergeOverwrite": "changes data",
	"uniq":               "square cost", "mustUniq": "square cost", "without": "square cost", "mustWithout": "square cost", "wrapWith": "cost",
	"slice": "text/template has it", "mustSlice": "text/template has it", "hello": "says nothing",
}

// available reports whether a template that names the function compiles.
func available(name string) bool {
	_, err := render.Compile(profiles.Template{Kind: profiles.Generic, Name: "a", Content: []byte("{{if false}}{{" + name + " .x}}{{end}}")})
	return err == nil
}

func TestEveryFunctionIsDecidedUpon(t *testing.T) {
	for name := range sprig.TxtFuncMap() {
		_, no := refused[name]
		if name == "slice" {
			continue
		}
		if yes := available(name); yes == no {
			t.Errorf("%s: available %v, refused %v", name, yes, no)
		}
	}
	for name := range refused {
		if _, there := sprig.TxtFuncMap()[name]; !there {
			t.Errorf("%s is refused, but sprig does not have it", name)
		}
	}
	for _, name := range []string{"toYAML", "indent", "printf", "index", "slice"} {
		if !available(name) {
			t.Errorf("%s is not available", name)
		}
	}
}

func TestFunctions(t *testing.T) {
	data := func() map[string]any {
		return map[string]any{
			"labels": map[string]any{"b": "2", "a": "1", "c": []any{1.0, true, "x: y"}},
			"name":   "node1", "list": []any{"c", "a", "b"}, "request": map[string]any{"query": map[string]string{"mac": "52:54:00:00:00:01"}},
		}
	}
	for source, want := range map[string]string{
		"{{.labels | toYAML}}":                                  "a: \"1\"\nb: \"2\"\nc:\n  - 1\n  - true\n  - 'x: y'",
		"{{.list | toYAML | indent 2}}":                         "  - c\n  - a\n  - b",
		"{{toYAML .name}}":                                      "node1",
		"{{keys .labels | join \",\"}}":                         "a,b,c",
		"{{values .labels | first}}":                            "1",
		"{{.list | sortAlpha | join \" \"}} {{.list}}":          "a b c [c a b]",
		"{{dig \"x\" \"y\" \"none\" (dict \"x\" (dict))}}":      "none",
		"{{.name | upper | trunc 3 | quote}}":                   `"NOD"`,
		"{{range until 3}}{{.}}{{end}} {{seq 1 3}}":             "012 1 2 3",
		"{{regexReplaceAll \"n(.)\" .name \"${1}\"}}":           "ode1",
		"{{slice .request.query.mac 0 2}}":                      "52",
		"{{(fromJson \"{\\\"a\\\":[1]}\").a | toJson}}":         "[1]",
		"{{default \"x\" \"\"}}{{ternary 1 2 true}}{{add 1 2}}": "x13",
		"{{sha256sum \"\" | trunc 8}}{{b64enc \"a\"}}":          "e3b0c442YQ==",
		"{{repeat 3 \"ab\"}}{{nindent 2 \"x\"}}":                "ababab\n  x",
	} {
		in := data()
		got, err := compile(t, profiles.Generic, "a", source).Text(t.Context(), in)
		if err != nil || string(got) != want {
			t.Errorf("%s gives %q, %v, want %q", source, got, err, want)
		}
		again, err := compile(t, profiles.Generic, "a", source).Text(t.Context(), in)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s gives %q the second time", source, again)
		}
	}
}

// TestFunctionsAreBounded holds calls that would take all memory or much time.
func TestFunctionsAreBounded(t *testing.T) {
	x := strings.Repeat("x", 200_000)
	for _, source := range []string{
		`{{repeat 1000000000 "x"}}`, `{{range until 1000000000}}{{end}}`, `{{untilStep 0 1000000000 1}}`, `{{seq 1000000000}}`, `{{seq 0 1000000000}}`,
		`{{seq -9223372036854775807 1 9223372036854775807}}`, `{{indent 1000000000 "x"}}`, `{{nindent 1000000000 "x"}}`,
		`{{replace "x" .x .x}}`, `{{join .x (splitList "" .x)}}`, `{{regexReplaceAll "x" .x .x}}`, `{{regexMatch "(x?){1000}y" .x}}`,
		`{{$l := list 1 2 3 4}}` + strings.Repeat(`{{$l = concat $l $l}}`, 40), `{{$l := list 1}}` + strings.Repeat(`{{$l = list $l $l}}`, 40),
		`{{$l := list 1}}` + strings.Repeat(`{{$l = list $l}}`, 200) + `{{toJson $l}}`, `{{$s := .x}}` + strings.Repeat(`{{$s = cat $s $s}}`, 40),
		`{{range .many}}{{range $.many}}{{range $.many}}{{end}}{{end}}{{end}}`,
	} {
		start := time.Now()
		_, err := compile(t, profiles.Generic, "a", source).Text(t.Context(), map[string]any{"x": x, "many": make([]any, 1000)})
		if err == nil {
			t.Errorf("%.80s is accepted", source)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%.80s takes %v", source, took)
		}
	}
}

func TestFunctionsDoNotReadTheHost(t *testing.T) {
	t.Setenv("MATCHD_TEST_SECRET", "secret")
	for _, source := range []string{`{{env "MATCHD_TEST_SECRET"}}`, `{{expandenv "$MATCHD_TEST_SECRET"}}`, `{{getHostByName "localhost"}}`, `{{now}}`} {
		_, err := render.Compile(profiles.Template{Kind: profiles.Generic, Name: "a", Content: []byte(source)})
		if err == nil || !strings.Contains(err.Error(), "is not available") {
			t.Errorf("%s: %v", source, err)
		}
	}
	if os.Getenv("MATCHD_TEST_SECRET") == "" {
		t.Error("the test tests nothing")
	}
}
