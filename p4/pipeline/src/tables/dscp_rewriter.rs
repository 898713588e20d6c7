//! `dscp_rewriter`: whether a port's packets carry slice and class in the DSCP.

crate::table! {
    "FabricEgress.rewrite.dscp_rewriter" = 0x02774f28, Egress;
    fields {
        1 eg_port: Exact<u16>, 9;
    }
    actions {
        RewriteDscp = "FabricEgress.rewrite.rewrite_dscp" 0x0195a00a {}
        ClearDscp = "FabricEgress.rewrite.clear_dscp" 0x01abef09 {}
    }
}
