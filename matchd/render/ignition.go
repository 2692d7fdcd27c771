package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	canonical "github.com/clarketm/json" // leaves empty structs out, as Butane does
	"github.com/coreos/ignition/v2/config/merge"
	"github.com/coreos/ignition/v2/config/v3_0"
	"github.com/coreos/ignition/v2/config/v3_1"
	"github.com/coreos/ignition/v2/config/v3_2"
	"github.com/coreos/ignition/v2/config/v3_3"
	"github.com/coreos/ignition/v2/config/v3_4"
	"github.com/coreos/ignition/v2/config/v3_5"
	"github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/validate"
	"github.com/coreos/vcontext/report"
)

// spec is what can be done with configs of one version of the Ignition specification.
type spec struct {
	version string
	// parse reads a config of exactly this version and writes it canonically.
	parse func(raw []byte) ([]byte, report.Report, error)
	// read takes a part's valid config of this version or older and translates it up to this version.
	read func(p *part) (any, error)
	// merge lays child over parent, both as read gave them and left as they are, and tells where each field of the result came from.
	merge func(parent, child any) (any, merge.Transcript)
	// validate looks at what merge gave, which nobody else does.
	validate func(config any) report.Report
}

func specOf[C any](version string, parse, parseCompatible func([]byte) (C, report.Report, error)) spec {
	return spec{
		version: version,
		parse: func(raw []byte) ([]byte, report.Report, error) {
			config, entries, err := parse(raw)
			if err != nil {
				return nil, entries, err
			}
			out, err := canonical.Marshal(config)
			return out, entries, err
		},
		read: func(p *part) (any, error) {
			if p.version == version { // validated already: doing it again would cost ten times as much as reading
				var config C
				err := json.Unmarshal(p.json, &config)
				return config, err
			}
			config, _, err := parseCompatible(p.json)
			return config, err
		},
		merge:    merge.MergeStructTranscribe,
		validate: func(config any) report.Report { return validate.ValidateWithContext(config, nil) },
	}
}

// write validates a config, which nobody has done before, and writes it canonically.
func (s spec) write(config any) ([]byte, report.Report, error) {
	entries := s.validate(config)
	out, err := canonical.Marshal(config)
	return out, entries, err
}

// specs returns every stable version, oldest first. There is no way back: a config can be translated up only.
func specs() []spec {
	return []spec{
		specOf("3.0.0", v3_0.Parse, v3_0.Parse),
		specOf("3.1.0", v3_1.Parse, v3_1.ParseCompatibleVersion),
		specOf("3.2.0", v3_2.Parse, v3_2.ParseCompatibleVersion),
		specOf("3.3.0", v3_3.Parse, v3_3.ParseCompatibleVersion),
		specOf("3.4.0", v3_4.Parse, v3_4.ParseCompatibleVersion),
		specOf("3.5.0", v3_5.Parse, v3_5.ParseCompatibleVersion),
		specOf("3.6.0", v3_6.Parse, v3_6.ParseCompatibleVersion),
	}
}

// specIndex returns the place of a version in specs, -1 if there is none.
func specIndex(version string) int {
	return slices.IndexFunc(specs(), func(s spec) bool { return s.version == version })
}

// isEmpty reports whether a canonical config tells a machine nothing: how to fetch (proxy, timeouts, security) is nothing where nothing is fetched.
func isEmpty(config []byte) bool {
	var header struct {
		Config struct {
			Merge   []json.RawMessage `json:"merge"`
			Replace struct {
				Source *string `json:"source"`
			} `json:"replace"`
		} `json:"config"`
	}
	in := json.NewDecoder(bytes.NewReader(config)) // reads no more than it has to
	in.Token()                                     // {, or nothing at all
	if key, err := in.Token(); err != nil || key != "ignition" {
		return err != nil
	}
	if err := in.Decode(&header); err != nil {
		return true
	}
	return len(header.Config.Merge) == 0 && header.Config.Replace.Source == nil && !in.More()
}

// part is one document's contribution to a config: canonical JSON of a known spec version, and what it says where.
type part struct {
	json     []byte
	version  string
	nodes    []node
	reporter *reporter // of the document; nil for what was merged
	findings

	mu    sync.Mutex
	typed map[string]any // by version of the specification: what its read makes of json; never changed

	shapeOnce sync.Once
	shape     [sha256.Size]byte // see shapeOf
}

// as returns the part as a config of the given specification.
func (p *part) as(s spec) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if config := p.typed[s.version]; config != nil {
		return config, nil
	}
	config, err := s.read(p)
	if err != nil {
		return nil, err
	}
	if p.typed == nil {
		p.typed = map[string]any{}
	}
	p.typed[s.version] = config
	return config, nil
}

// parseSpec parses raw by the version that it declares. positioned says that raw is r's text, so that positions in it mean something.
func parseSpec(r *reporter, raw []byte, positioned bool) *part {
	version, i := r.declared(raw, positioned)
	if i < 0 {
		return nil
	}
	out, entries, err := specs()[i].parse(raw)
	r.addEntries(entries, positioned)
	if err != nil && len(entries.Entries) == 0 {
		r.add(0, 0, "%v", err)
	}
	if r.err() != nil {
		return nil
	}
	return &part{json: out, version: version}
}

// trusted takes what Butane has written: it is validated and canonical already, and doing both again costs as much as a tenth of
// the translation.
func trusted(r *reporter, raw []byte) *part {
	version, i := r.declared(raw, false)
	if i < 0 {
		return nil
	}
	return &part{json: raw, version: version}
}

// declared returns the version that an Ignition config declares and its place in specs; -1 with a problem if it is none of them.
func (r *reporter) declared(raw []byte, positioned bool) (version string, i int) {
	var probe struct {
		Ignition struct {
			Version *string `json:"version"`
		} `json:"ignition"`
	}
	if err := json.Unmarshal(raw, &probe); err != nil {
		r.jsonTypeError(err, raw, positioned)
		return "", -1
	}
	if probe.Ignition.Version == nil {
		line, column := 0, 0
		if positioned {
			line, column = r.find("{")
		}
		r.add(line, column, `ignition.version is missing: an Ignition config has "ignition": {"version": "3.4.0"}`)
		return "", -1
	}
	version = *probe.Ignition.Version
	if i = specIndex(version); i < 0 {
		line, column := r.find(fmt.Sprintf("%q", version))
		r.add(line, column, "ignition.version %q %s", version, whyNoSpec(version))
	}
	return version, i
}

func whyNoSpec(version string) string {
	known := specs()
	switch {
	case strings.Contains(version, "experimental"):
		return "is experimental: only Ignition releases of exactly that state read it"
	case strings.HasPrefix(version, "1") || strings.HasPrefix(version, "2."):
		return "is of the old kind that Ignition 2 does not read"
	}
	return fmt.Sprintf("is unknown: versions are %s to %s", known[0].version, known[len(known)-1].version)
}

// jsonTypeError reports a value of the wrong type.
func (r *reporter) jsonTypeError(err error, raw []byte, positioned bool) {
	var wrong *json.UnmarshalTypeError
	line, column := 0, 0
	if errors.As(err, &wrong) && positioned {
		line, column = lineColumn(string(raw), int(wrong.Offset)-1)
	}
	r.add(line, column, "%s", plainJSON(err.Error()))
}

var wrongJSON = regexp.MustCompile(`^json: cannot unmarshal (\w+) into Go (?:struct field \w*\.)?(.*?) ?(?:of type|value of type) (\S+)$`)

// plainJSON says without Go's words that a JSON value has the wrong type.
func plainJSON(message string) string {
	m := wrongJSON.FindStringSubmatch(message)
	if m == nil {
		return message
	}
	want := m[3]
	switch {
	case strings.HasPrefix(want, "[]"):
		want = "a list"
	case strings.HasPrefix(want, "types.") || strings.HasPrefix(want, "struct"):
		want = "an object"
	case want == "int":
		want = "a whole number"
	case want == "bool":
		want = "true or false"
	}
	return fmt.Sprintf("%s: want %s, got %s", strings.ToLower(m[2][:min(len(m[2]), 1)])+m[2][min(len(m[2]), 1):], want, m[1])
}

// plainButane puts advice for users of Butane's command into words for users of a server.
func plainButane(message string) string {
	if strings.Contains(message, "--files-dir") {
		return "a server reads no local files for a config: write the content into it (inline)"
	}
	return message
}

// find returns where a piece of text stands in r's text, zeros if nowhere.
func (r *reporter) find(piece string) (line, column int) {
	if r.text == nil {
		return 0, 0
	}
	at := strings.Index(string(r.text.out), piece)
	if at < 0 {
		return 0, 0
	}
	return lineColumn(string(r.text.out), at)
}

// addEntries makes a problem of every entry, whatever its severity: strict means that a warning is a mistake too. It is none for a lenient reporter.
func (r *reporter) addEntries(entries report.Report, positioned bool) {
	for _, e := range entries.Entries {
		if r.lenient && !e.Kind.IsFatal() {
			continue
		}
		line, column := 0, 0
		if positioned && e.Marker.StartP != nil {
			line, column = int(e.Marker.StartP.Line), int(e.Marker.StartP.Column)
		}
		what := plainButane(plainJSON(e.Message))
		if at := strings.TrimPrefix(e.Context.String(), "$"); at != "" {
			what = strings.TrimPrefix(at, ".") + ": " + what
		}
		r.add(line, column, "%s", what)
	}
}

// emptyConfig is the reason why a document or a composition without content is refused.
const emptyConfig = "the config is empty: a machine would boot unconfigured"
