// Package breakout tests that a function stays in its sandbox: a program tries
// whatever we can think of from inside an instance, one attempt after the
// other, and none may work. The program is in folder breaker.
//
// It is for the sandboxes that are made of the host's kernel, or look like it.
// It knows none of them: what an attempt may do in one, its test says.
package breakout

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Package is the import path of the program, to be built into an image as
// /breaker. It serves on port 8080.
const Package = "github.com/unifaas/unifaas/internal/sandbox/sandboxtest/breakout/breaker"

// A Result is what came of an attempt.
type Result struct {
	// Came are the words of the error; "" if there was none.
	Came string `json:"came"`
	// Held is false when the attempt has worked, and when it has failed in a
	// way that does not show that it could not: a call that the kernel let in,
	// and found its arguments wrong, may be made with others.
	Held bool `json:"held"`
}

// Users are an image's users as whom it is tried.
var Users = map[string]string{"Root": "0:0", "User": "1234:2345"}

// least is how many attempts there are at least: a program that makes fewer is
// not the one that was meant.
const least = 110

// AddSetuid adds /setuid to the image at rootfs, in which /breaker is: the same
// program, which belongs to the image's root and has the set-user-ID bit.
func AddSetuid(t testing.TB, rootfs string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(rootfs, "breaker"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(rootfs, "setuid")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
}

// Check has an instance of the program make its attempts, and wants them held.
// get sends a request to it. harmless, which may be nil, says why attempts may
// work in this sandbox.
func Check(t testing.TB, get func(path string) (string, error), harmless map[string]string) {
	t.Helper()
	// Its own process is one that nobody inside should see.
	answer, err := get("/?host=" + strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	var results map[string]Result
	if err := json.Unmarshal([]byte(answer), &results); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	if len(results) < least {
		t.Errorf("only %d attempts were made", len(results))
	}
	for attempt := range harmless {
		if _, ok := results[attempt]; !ok {
			t.Errorf("%q is no attempt", attempt)
		}
	}
	for attempt, r := range results {
		why := harmless[attempt]
		switch {
		case !r.Held && why == "" && r.Came == "":
			t.Errorf("%q works", attempt)
		case !r.Held && why == "":
			t.Errorf("%q is let in, and fails by chance: %s", attempt, r.Came)
		case !r.Held:
			t.Logf("%s: works, harmless: %s", attempt, why)
		default:
			t.Logf("%s: %s", attempt, r.Came)
		}
	}
	if again, err := get("/?host=0"); err != nil || again == "" {
		t.Errorf("after all attempts: %v", err)
	}
}
