package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// A Bound is what a ratio must keep to.
type Bound struct {
	AtLeast bool // else at most
	Value   float64
}

// AtLeast and AtMost make bounds.
func AtLeast(v float64) *Bound { return &Bound{true, v} }

// AtMost is the bound of a ratio that must not be above v.
func AtMost(v float64) *Bound { return &Bound{false, v} }

// Holds reports whether v keeps to the bound.
func (b *Bound) Holds(v float64) bool {
	if b.AtLeast {
		return v >= b.Value
	}
	return v <= b.Value
}

func (b *Bound) String() string {
	if b.AtLeast {
		return fmt.Sprintf(">= %g", b.Value)
	}
	return fmt.Sprintf("<= %g", b.Value)
}

// MarshalText implements [encoding.TextMarshaler].
func (b *Bound) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bound) UnmarshalText(text []byte) error {
	sign, value, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(value, 64)
	if err != nil || sign != ">=" && sign != "<=" {
		return fmt.Errorf("target %q is not \">= NUMBER\" or \"<= NUMBER\"", text)
	}
	*b = Bound{sign == ">=", v}
	return nil
}

// A Number is a measurement in JSON: null when there is none.
type Number float64

// MarshalJSON implements [json.Marshaler]. Four significant digits are more
// than the noise leaves.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Known() {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.4g", float64(n)), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *Number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = Unknown
		return nil
	}
	return json.Unmarshal(text, (*float64)(n))
}

// Unknown is the number that was not measured.
var Unknown = Number(math.NaN())

// Known reports whether n was measured.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// A Row compares one quantity of ours with a peer's. Its first seven JSON
// fields are what readers of bench.json rely on; the others tell how far to
// trust them.
type Row struct {
	Name      string `json:"name"`
	Unit      string `json:"unit"`
	Ours      Number `json:"ours"` // median over rounds, of a limit's the largest; null when not measured
	Peer      string `json:"peer"`
	PeerValue Number `json:"peer_value"` // median over rounds, null when not measured
	Ratio     Number `json:"ratio"`      // ours / peer_value
	Target    *Bound `json:"target"`     // of the ratio; null: for information

	Met     *bool  `json:"met"` // null without target or when not measured
	Rounds  int    `json:"rounds,omitempty"`
	OursMAD Number `json:"ours_mad"`
	PeerMAD Number `json:"peer_mad"`
	// RatioLow and RatioHigh are the quartiles of the ratios within rounds.
	RatioLow  Number `json:"ratio_q1"`
	RatioHigh Number `json:"ratio_q3"`
	// Valid is false when the conditions of the measurement were not given;
	// Note says why, or why there is no value.
	Valid bool   `json:"valid"`
	Note  string `json:"note,omitempty"`
	// OursRounds and PeerRounds are the values that the medians are of, in the
	// order in which they were measured.
	OursRounds []Number `json:"ours_rounds,omitempty"`
	PeerRounds []Number `json:"peer_rounds,omitempty"`
}

// Compare makes the row of two samples whose i-th values are of one round.
func Compare(name, unit string, ours Sample, peer string, theirs Sample, target *Bound) Row {
	r := Row{
		Name: name, Unit: unit, Peer: peer, Target: target,
		Ours: Number(ours.Median()), PeerValue: Number(theirs.Median()),
		Rounds:  min(len(ours), len(theirs)),
		OursMAD: Number(ours.MAD()), PeerMAD: Number(theirs.MAD()),
		OursRounds: ours.numbers(), PeerRounds: theirs.numbers(),
		Valid: true,
	}
	ratios := ours.Ratios(theirs)
	r.RatioLow, r.RatioHigh = Number(ratios.Quantile(0.25)), Number(ratios.Quantile(0.75))
	return r.judged()
}

// Limit makes the row of a sample of which every value must keep to a fixed
// one: ours is the largest.
func Limit(name, unit string, ours Sample, limit float64) Row {
	r := Row{
		Name: name, Unit: unit, Peer: "limit", Target: AtMost(1),
		Ours: Number(ours.Max()), PeerValue: Number(limit),
		Rounds: len(ours), OursMAD: Number(ours.MAD()), PeerMAD: Unknown,
		RatioLow:  Number(ours.Quantile(0.25) / limit),
		RatioHigh: Number(ours.Quantile(0.75) / limit),
		Valid:     true,
	}
	return r.judged().Noted("median %.4g %s", ours.Median(), unit)
}

// Alone makes the row of a sample beside which there is nothing: ours is its
// median.
func Alone(name, unit string, ours Sample) Row {
	r := Missing(name, unit, "", nil, "")
	r.Ours, r.OursMAD, r.Rounds, r.OursRounds, r.Valid = Number(ours.Median()), Number(ours.MAD()), len(ours), ours.numbers(), true
	return r
}

// Missing makes the row of something that could not be measured.
func Missing(name, unit, peer string, target *Bound, why string) Row {
	return Row{
		Name: name, Unit: unit, Peer: peer, Target: target,
		Ours: Unknown, PeerValue: Unknown, Ratio: Unknown,
		OursMAD: Unknown, PeerMAD: Unknown, RatioLow: Unknown, RatioHigh: Unknown,
		Note: why,
	}
}

func (r Row) judged() Row {
	r.Ratio = r.Ours / r.PeerValue
	if r.Target != nil && r.Ratio.Known() {
		met := r.Target.Holds(float64(r.Ratio))
		r.Met = &met
	}
	return r
}

// Unjudged is r as information, without a target.
func (r Row) Unjudged() Row {
	r.Target, r.Met = nil, nil
	return r
}

// Invalid marks r as measured under conditions that make it worthless.
func (r Row) Invalid(why string) Row {
	r.Valid, r.Note = false, why
	return r
}

// Noted adds words to r.
func (r Row) Noted(format string, args ...any) Row {
	if r.Note != "" {
		r.Note += "; "
	}
	r.Note += fmt.Sprintf(format, args...)
	return r
}

// Missed reports whether r has a target that was not reached, for want of
// speed or of a valid measurement.
func (r Row) Missed() bool { return r.Target != nil && (!r.Valid || r.Met == nil || !*r.Met) }

// WriteJSON writes rows as a JSON list.
func WriteJSON(w io.Writer, rows []Row) error {
	if rows == nil {
		rows = []Row{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // targets are written with < and >
	enc.SetIndent("", "  ")
	return enc.Encode(rows)
}
