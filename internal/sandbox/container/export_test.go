package container

// LauncherProgram is the launcher of this very source, for the tests inside
// the package.
var LauncherProgram []byte
