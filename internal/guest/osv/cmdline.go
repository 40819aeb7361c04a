package osv

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/unifaas/unifaas/internal/guest"
)

// A Command is what OSv's command line says.
type Command struct {
	Address netip.Addr
	Gateway netip.Prefix // the gateway's address and the network's length
	NoPCI   bool         // there is no PCI bus to look for

	Env  []string // NAME=value
	Dir  string   // working folder
	Argv []string // the program's path and its arguments
}

// reference begins the names of variables that carry an argument which can't
// stand on the command line itself.
const reference = "UNIFAAS_ARGUMENT_"

// Line returns the command line (OSv, loader.cc, core/options.cc and
// core/commands.cc): options, of which each word is taken as it is but for what
// a backslash protects, and then the program and its arguments, in a language
// of their own.
func (c *Command) Line() string {
	gateway := c.Gateway.Addr().String()
	words := []string{
		"--ip=eth0," + c.Address.String() + "," + guest.Netmask(c.Gateway),
		"--defaultgw=" + gateway, "--nameserver=" + gateway,
		"--rootfs=rofs", "--console=serial",
		// Else a guest that has failed stays, and nobody knows.
		"--power-off-on-abort",
	}
	if c.NoPCI {
		words = append(words, "--nopci")
	}
	if dir := path.Clean("/" + c.Dir); dir != "/" {
		words = append(words, option("--cwd="+dir))
	}
	for _, kv := range c.Env {
		words = append(words, option("--env="+kv))
	}
	var argv []string
	for n, arg := range c.Argv {
		if plain(arg) {
			argv = append(argv, quote(arg))
			continue
		}
		// OSv replaces the word by the variable's value.
		name := reference + fmt.Sprint(n)
		words = append(words, option("--env="+name+"="+arg))
		argv = append(argv, `"$`+name+`"`)
	}
	return strings.Join(append(words, argv...), " ")
}

// option protects what ends a word among the options.
func option(word string) string {
	return strings.NewReplacer(`\`, `\\`, " ", `\ `, "\t", "\\\t", "\n", "\\\n").Replace(word)
}

// plain tells whether an argument can be quoted: a dollar begins a variable
// even so, and what is not ASCII breaks off the whole line.
func plain(arg string) bool {
	return !strings.ContainsFunc(arg, func(r rune) bool { return r < ' ' || r > '~' || r == '$' })
}

func quote(arg string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(arg) + `"`
}
