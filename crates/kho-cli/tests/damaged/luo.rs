//! LUO's header.

use kho_testkit::Builder;

use crate::SMALL;

damaged! { SMALL;
    luo_version_unknown: ["refused", "luo-v6", "luo-v5", "panic"], |m, a| m.write(a.luo, b"luo-v6");
    luo_version_old: ["refused", "luo-v4"], |m, a| m.write(a.luo, b"luo-v4");
    luo_compatible_empty: ["LUO", "compatible is empty"], |m, a| m.write(a.luo, &[0; 8]);
    luo_compatible_unterminated: ["LUO", "not terminated"], |m, a| m.write(a.luo, b"luo-v5..");
    luo_compatible_not_text: ["LUO", "not valid text"], |m, a| m.write(a.luo, &[0xff; 4]);
    luo_of_another_name: ["refused", "lua-v5"], |m, a| m.write(a.luo, b"lua-v5");
    liveupdate_num_0: ["liveupdate_num", "impossible value"], |m, a| m.set_u64(a.luo + 8, 0);
}

built! {
    luo_composite_with_an_unknown_part: ["refused", "zip"], || {
        let mut b = Builder::new();
        b.luo_compatible = "luo-v5;block-v1;zip-v1".into();
        b.session_of("s", &[]);
        b.finish().mem
    };
}

address! { SMALL;
    sessions_pa: |a| a.luo + 16, |a| a.luo;
    flbs_pa: |a| a.luo + 24, |a| a.blocks[0];
}

damaged! { SMALL;
    sessions_pa_an_order_1_range:
        ["impossible order"], |m, a| m.set_u64(a.luo + 16, a.keys.iter().find(|k| k.1 == 1).unwrap().0);
}
