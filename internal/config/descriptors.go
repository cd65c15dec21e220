package config

// What a daemon opens beside the connections of its readers: the store keeps up to 64 segments open
// and Badger its tables; a feed has connections to its upstream, for repairs and to accounts'
// servers.
const (
	filesBase    = 256
	filesPerFeed = 32
)

// FilesOfItsOwn returns how many descriptors the daemon needs for its store and its feeds.
func (c *Config) FilesOfItsOwn() int { return filesBase + filesPerFeed*len(c.Feeds) }

// Connections returns how many connections the listener may have, with a limit of that many open
// files: what store and feeds need is kept back, but for a few without which nobody could look.
func (c *Config) Connections(files uint64) int {
	const few = 16
	left := int64(min(files, 1<<31)) - int64(c.FilesOfItsOwn())
	return int(max(min(int64(c.HTTP.MaxConnections), left), few))
}
