// Package faas holds the domain: functions, revisions, limits and the kinds
// of error that the platform tells apart. It imports only the standard
// library and knows nothing of sandboxes, files or HTTP.
package faas
