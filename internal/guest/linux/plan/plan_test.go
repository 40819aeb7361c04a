package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/unifaas/unifaas/internal/guest/linux/plan"
)

func instance() plan.Instance {
	return plan.Instance{
		ID: "n-1", Address: plan.IPv4{10, 1, 2, 3}, Prefix: 30, Gateway: plan.IPv4{10, 1, 2, 1},
		GatewayMAC: plan.MAC{2, 0, 0, 0xab, 0, 1}, Control: 7000, Off: plan.OffReset, Time: 12, Seed: []byte{1, 255},
	}
}

func TestCommandLineThereAndBack(t *testing.T) {
	for name, want := range map[string]plan.Instance{
		"network": instance(),
		"vsock":   {ID: "n-1", Vsock: true, Control: 1, Off: plan.OffReset},
		"alone":   {ID: "n-1", Off: plan.OffPower},
		"outside": {ID: "n-1", Address: plan.IPv4{10, 0, 2, 15}, Prefix: 24, Gateway: plan.IPv4{10, 0, 2, 2}, Off: plan.OffPower},
	} {
		line := "quiet " + strings.Join(want.Words(), " ") + " panic=-1\n"
		got, err := plan.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("of %q (-want +got):\n%s", line, diff)
		}
		if hasHost := name == "network" || name == "vsock"; got.HasHost() != hasHost {
			t.Errorf("%s: has a host to report to: %t", name, got.HasHost())
		}
	}
}

func TestCommandLineErrors(t *testing.T) {
	for line, want := range map[string]string{
		"unifaas.ip=1.2.3/8":         "bad address",
		"unifaas.ip=1.2.3.4":         "prefix length",
		"unifaas.ip=1.2.3.4/33":      "prefix length",
		"unifaas.gw=1.2.3.4,":        "Ethernet",
		"unifaas.gw=1.2.3.400,x":     "bad address",
		"unifaas.control=0":          "bad port",
		"unifaas.off=never":          "unknown way",
		"unifaas.seed=zz":            "unifaas.seed",
		"unifaas.time=soon":          "unifaas.time",
		"unifaas.colour=green quiet": "unknown word",
	} {
		if got, err := plan.Parse(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v, want an error with %q", line, got, err, want)
		}
	}
}

func TestFirstFree(t *testing.T) {
	for port, want := range map[int]int{80: 80, 1023: 1023, 1024: 1024, 8080: 1024} {
		if got := plan.FirstFree(port); got != want {
			t.Errorf("port %d: got %d, want %d", port, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	i := instance()
	f.Add(strings.Join(i.Words(), " "))
	f.Add("unifaas.ip=/ unifaas.gw=,")
	f.Fuzz(func(t *testing.T, line string) {
		got, err := plan.Parse(line)
		if err != nil || got.Prefix == 0 {
			return
		}
		again, err := plan.Parse(strings.Join(got.Words(), " "))
		if got.Address != (plan.IPv4{}) && got.Control != 0 && err == nil && again.Address != got.Address {
			t.Errorf("%q: %v is %v the second time", line, got.Address, again.Address)
		}
	})
}
