package stream

import (
	"context"
	"time"
)

// HistoryAge returns the age at which [EventsStream] drops its messages, as the
// stream is, not as a configuration wants it; 0: it keeps them.
func (c *Conn) HistoryAge(ctx context.Context) (time.Duration, error) {
	info, err := c.streamInfo(ctx, EventsStream)
	if err != nil {
		return 0, err
	}
	return info.Config.MaxAge, nil
}
