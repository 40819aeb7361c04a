package image

import (
	"encoding/json"

	"github.com/unifaas/unifaas/internal/faas"
)

// document is what manifests and indexes have in common.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []json.RawMessage `json:"manifests"`
}

func parseDocument(body []byte) (*document, error) {
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, faas.Errorf(faas.KindInvalid, "its manifest is damaged: %w", err)
	}
	return &doc, nil
}
