package osv

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var network = Command{Address: netip.MustParseAddr("172.31.255.2"), Gateway: netip.MustParsePrefix("172.31.255.1/30")}

func TestLine(t *testing.T) {
	c := network
	c.NoPCI, c.Dir = true, "/work dir"
	c.Env = []string{"A=1", "EMPTY=", `ODD=a b\c`}
	c.Argv = []string{"/f", "two words", "", `q"\`, "$HOME", "ü"}
	want := `--ip=eth0,172.31.255.2,255.255.255.252 --defaultgw=172.31.255.1 --nameserver=172.31.255.1 --rootfs=rofs ` +
		`--console=serial --power-off-on-abort --nopci --cwd=/work\ dir --env=A=1 --env=EMPTY= --env=ODD=a\ b\\c ` +
		`--env=UNIFAAS_ARGUMENT_4=$HOME --env=UNIFAAS_ARGUMENT_5=ü "/f" "two words" "" "q\"\\" "$UNIFAAS_ARGUMENT_4" "$UNIFAAS_ARGUMENT_5"`
	if got := c.Line(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// understand reads a command line as OSv does: options up to the first word that
// does not begin with a hyphen, with backslashes; then quoted words.
func understand(t *rapid.T, line string) (env, argv []string) {
	for strings.HasPrefix(line, "-") {
		var word strings.Builder
		i := 0
		for ; i < len(line) && !strings.ContainsRune(" \t\n", rune(line[i])); i++ {
			if line[i] == '\\' {
				i++
			}
			word.WriteByte(line[i])
		}
		line = strings.TrimLeft(line[i:], " \t\n")
		if kv, ok := strings.CutPrefix(word.String(), "--env="); ok {
			env = append(env, kv)
		}
	}
	for line != "" {
		if line[0] != '"' {
			t.Fatalf("not quoted: %q", line)
		}
		var word strings.Builder
		i := 1
		for ; line[i] != '"'; i++ {
			if line[i] > '~' {
				t.Fatalf("not ASCII: %q", line)
			}
			if line[i] == '\\' {
				i++
			}
			word.WriteByte(line[i])
		}
		line = strings.TrimPrefix(line[i+1:], " ")
		arg := word.String()
		if before, name, ok := strings.Cut(arg, "$"); ok {
			at := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
			if at < 0 {
				t.Fatalf("%q is not set", name)
			}
			arg = before + strings.TrimPrefix(env[at], name+"=")
		}
		argv = append(argv, arg)
	}
	return env, argv
}

// TestLineIsUnderstood: whatever a function's arguments and environment are, OSv
// gets just these.
func TestLineIsUnderstood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~\t\nüß€\\"' $&;!-]{0,12}`)
		c := network
		for range rapid.IntRange(0, 4).Draw(t, "env") {
			c.Env = append(c.Env, "N"+rapid.StringMatching(`[A-Z]{1,3}`).Draw(t, "name")+"="+text.Draw(t, "value"))
		}
		c.Argv = append([]string{"/program"}, rapid.SliceOfN(text, 0, 4).Draw(t, "arguments")...)
		env, argv := understand(t, c.Line())
		env = slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, reference) })
		if !slices.Equal(env, c.Env) || !slices.Equal(argv, c.Argv) {
			t.Errorf("got %q and %q, want %q and %q", env, argv, c.Env, c.Argv)
		}
	})
}
