//! What the network shows: LLDP links, hosts, moves and aging.
