//! Replicated state behind one trait: embedded for a single node, etcd for a cluster.
