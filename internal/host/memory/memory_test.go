package memory

import "testing"

func TestAvailableIsPartOfTotal(t *testing.T) {
	total, err := Total()
	if err != nil {
		t.Fatal(err)
	}
	available, err := Available()
	if err != nil {
		t.Fatal(err)
	}
	if available <= 0 || available > total {
		t.Errorf("%d bytes available of %d", available, total)
	}
	if _, err := field("NoSuchField"); err == nil {
		t.Error("a field that does not exist was read")
	}
}
