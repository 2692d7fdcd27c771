package render

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// maxTried is the number of documents whose translation a [Trial] keeps at hand for other compositions that hold them.
const maxTried = 256

// Trial renders before any machine asks, with as much as is known by then, and tells what would break. It renders nothing twice: what gives the
// same text gives the same answer, also in the next round. It is safe for concurrent use.
type Trial struct {
	mu           sync.Mutex
	now, before  map[[sha256.Size]byte]*Verdict // of this round and the one before, by all that the answer depends on
	translations map[[sha256.Size]byte]*translation
}

// NewTrial returns a trial that has seen nothing.
func NewTrial() *Trial {
	t := &Trial{translations: map[[sha256.Size]byte]*translation{}}
	t.NextRound()
	return t
}

// NextRound forgets what was not asked for in this round.
func (t *Trial) NextRound() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before, t.now = t.now, map[[sha256.Size]byte]*Verdict{}
}

// Len returns the number of answers that are remembered of this round.
func (t *Trial) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.now)
}

// Verdict is what a trial found.
type Verdict struct {
	Problems []Problem // certain: whatever a machine's labels are
	Warnings []Problem // odd, or wrong only for machines like the supposed one
}

// translation is what became of one rendered text.
type translation struct {
	part     *part // nil: it has problems
	problems []Problem
	unhashed []Problem // problems too, unless they are allowed
}

// attempt is one document in a trial: its text, as far as it could be made.
type attempt struct {
	document *Document
	key      [sha256.Size]byte // see trialKey
	text     *text
	failed   []Problem // the template gave no text
	supposed supposition
}

// Config tries a composition with the data of a machine of which only some labels are known. Labels that the documents read and that are not
// known are made up, and what may be due to them becomes a warning. The error is that of ctx.
func (t *Trial) Config(ctx context.Context, c Composition, data map[string]any) (Verdict, error) {
	return t.try(ctx, c.documents(), data, fmt.Sprintf("whole %q %v %v", c.Version, c.AllowUnhashed, c.RefuseOverlaps), func(attempts []*attempt) (*Verdict, error) {
		found, parts, err := t.apart(ctx, attempts, c.AllowUnhashed)
		if err != nil || len(parts) < len(attempts) {
			return found, err
		}
		config, err := c.merge(parts)
		if err != nil {
			found.Problems = append(found.Problems, problemsOf(err)...)
			return found, nil
		}
		found.Warnings = config.Warnings
		return found, nil
	})
}

// Apart tries documents one by one, for a config that cannot be put together because another document of it cannot be used.
func (t *Trial) Apart(ctx context.Context, documents []*Document, allowUnhashed bool, data map[string]any) (Verdict, error) {
	return t.try(ctx, documents, data, fmt.Sprintf("apart %v", allowUnhashed), func(attempts []*attempt) (*Verdict, error) {
		found, _, err := t.apart(ctx, attempts, allowUnhashed)
		return found, err
	})
}

// try executes the templates and judges what they give, unless that was judged the same way before.
func (t *Trial) try(ctx context.Context, documents []*Document, data map[string]any, way string, judge func([]*attempt) (*Verdict, error)) (Verdict, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, way)
	attempts := make([]*attempt, 0, len(documents))
	for _, d := range documents {
		a, err := d.attempt(ctx, data)
		if err != nil {
			return Verdict{}, err
		}
		attempts = append(attempts, a)
		hash.Write(a.key[:])
	}
	found, err := t.once([sha256.Size]byte(hash.Sum(nil)), func() (*Verdict, error) { return judge(attempts) })
	if err != nil {
		return Verdict{}, err
	}
	return weigh(found, attempts), nil
}

// Text tries a document of kind generic or cloud, as [Trial.Config] does a composition.
func (t *Trial) Text(ctx context.Context, d *Document, data map[string]any) (Verdict, error) {
	a, err := d.attempt(ctx, data)
	if err != nil {
		return Verdict{}, err
	}
	found, err := t.once(a.key, func() (*Verdict, error) {
		tried, err := t.translate(ctx, a)
		if err != nil {
			return nil, err
		}
		return &Verdict{Problems: tried.problems}, nil
	})
	if err != nil {
		return Verdict{}, err
	}
	return weigh(found, []*attempt{a}), nil
}

// once returns what is known under a key, or finds it out.
func (t *Trial) once(key [sha256.Size]byte, find func() (*Verdict, error)) (*Verdict, error) {
	t.mu.Lock()
	known := t.now[key]
	if known == nil {
		known = t.before[key]
	}
	t.mu.Unlock()
	if known == nil {
		var err error
		if known, err = find(); err != nil {
			return nil, err
		}
	}
	t.mu.Lock()
	t.now[key] = known
	t.mu.Unlock()
	return known, nil
}

// apart translates each attempt by itself. What has problems gives no part.
func (t *Trial) apart(ctx context.Context, attempts []*attempt, allowUnhashed bool) (*Verdict, []*part, error) {
	found := &Verdict{}
	var parts []*part
	for _, a := range attempts {
		tried, err := t.translate(ctx, a)
		if err != nil {
			return nil, nil, err
		}
		found.Problems = append(found.Problems, tried.problems...)
		if !allowUnhashed {
			found.Problems = append(found.Problems, tried.unhashed...)
		}
		if tried.part != nil {
			parts = append(parts, tried.part)
		}
	}
	return found, parts, nil
}

// translate returns what becomes of an attempt's text.
func (t *Trial) translate(ctx context.Context, a *attempt) (*translation, error) {
	if a.failed != nil {
		return &translation{problems: a.failed}, nil
	}
	if a.document.Static() {
		return translationOf(a.document.result(ctx, nil)), nil
	}
	t.mu.Lock()
	known := t.translations[a.key]
	t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	known = translationOf(a.document.evaluate(a.text, quickly))
	t.mu.Lock()
	defer t.mu.Unlock()
	for other := range t.translations {
		if len(t.translations) < maxTried {
			break
		}
		delete(t.translations, other)
	}
	t.translations[a.key] = known
	return known, nil
}

func translationOf(rendered *result, err error) *translation {
	var report *Report
	switch {
	case errors.As(err, &report):
		return &translation{problems: report.Problems, unhashed: report.Unhashed}
	case err != nil:
		return &translation{problems: problemsOf(err)}
	case rendered.part == nil:
		return &translation{}
	}
	return &translation{part: rendered.part, unhashed: rendered.part.unhashed}
}

// problemsOf takes a rendering's error apart.
func problemsOf(err error) []Problem {
	var report *Report
	if errors.As(err, &report) {
		return report.Problems
	}
	return []Problem{{What: err.Error()}}
}

// attempt executes the document's template. The error is that of ctx.
func (d *Document) attempt(ctx context.Context, data map[string]any) (*attempt, error) {
	a := &attempt{document: d}
	if d.Static() {
		a.key = d.trialKey("source", d.source)
		return a, nil
	}
	data, a.supposed = d.program.reads.suppose(data)
	bounded, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	rendered, err := d.execute(bounded, data)
	switch {
	case err == nil:
		a.text = rendered
		a.key = d.trialKey("text", string(rendered.out))
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		a.failed = problemsOf(err)
		a.key = d.trialKey("failed", err.Error())
	}
	return a, nil
}

// trialKey digests all that a verdict on the document depends on: a lenient one gets another than a strict one of the same text.
func (d *Document) trialKey(what, text string) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%v %s %q %s", d.lenient, what, d.path(), text))
}

// supposition says how much of a machine had to be made up.
type supposition int

const (
	known     supposition = iota // nothing
	partly                       // labels that the document asks for by name
	anything                     // the document reads all labels, whatever their names
	maxLabels = 64               // that are made up for one document
)

// suppose adds a value for every label that the template asks for by name and that is not there.
func (d *dependencies) suppose(data map[string]any) (map[string]any, supposition) {
	how := known
	if d.everything {
		how = anything
	}
	var missing [][]string
	for _, path := range d.paths {
		switch where := strings.Join(path[:min(len(path), 2)], "."); {
		case where == requestKey || where == requestKey+".query" && len(path) == 2 || where == ours || where == ours+".machine" && len(path) == 2:
			how = anything
		case where == requestKey+".raw_query":
			how = max(how, partly)
		case where == requestKey+".query" || where == ours+".machine":
			if _, found := lookUp(data, path[:3]); !found && len(missing) < maxLabels {
				missing = append(missing, path[:3])
			}
		}
	}
	if len(missing) == 0 {
		return data, how
	}
	supposed := clone(data)
	for _, path := range missing {
		inner := clone(supposed[path[0]])
		labels := clone(inner[path[1]])
		labels[path[2]] = madeUp(path[2])
		inner[path[1]], supposed[path[0]] = labels, inner
	}
	return supposed, max(how, partly)
}

// clone copies one level of a map of data.
func clone(v any) map[string]any {
	out := map[string]any{}
	switch m := v.(type) {
	case map[string]any:
		for key, value := range m {
			out[key] = value
		}
	case map[string]string:
		for key, value := range m {
			out[key] = value
		}
	}
	return out
}

// madeUp returns what a label could be.
func madeUp(label string) string {
	switch label {
	case "mac":
		return "52:54:00:12:34:56"
	case "uuid":
		return "30000000-0000-4000-8000-525400123456"
	case "hostname":
		return "host"
	case "domain":
		return "example.com"
	}
	return "1"
}

// weigh tells what is certain from what may be due to labels that were made up.
func weigh(found *Verdict, attempts []*attempt) Verdict {
	most := known
	how := make(map[string]supposition, len(attempts))
	for _, a := range attempts {
		most = max(most, a.supposed)
		how[a.document.path()] = max(how[a.document.path()], a.supposed)
	}
	if most == known {
		return *found
	}
	weighed := Verdict{Warnings: slices.Clone(found.Warnings)}
	for _, p := range found.Problems {
		supposed, single := how[p.Name]
		if !single {
			supposed = most // a problem of the composition
		}
		switch {
		case supposed == known, p.Line > 0 && p.origin == literal, p.origin == missingKey && supposed == partly:
			weighed.Problems = append(weighed.Problems, p)
		default:
			p.What += ", unless the machine's own labels change that"
			weighed.Warnings = append(weighed.Warnings, p)
		}
	}
	return weighed
}
