//! `replicas`: the VLAN of a routed multicast copy.

crate::table! {
    "FabricEgress.rewrite.replicas" = 0x024d726e, Egress;
    fields {
        1 instance: Exact<u16>, 16;
        2 eg_port: Exact<u16>, 9;
    }
    actions {
        SetReplicaVlan = "FabricEgress.rewrite.set_replica_vlan" 0x013e6117 {
            1 vlan_id: u16, 12;
            2 eth_src: [u8; 6], 48;
        }
    }
}
