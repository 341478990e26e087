//! LUO's header.

use kho_testkit::Builder;

use crate::SMALL;

damaged!(
    luo_version_unknown,
    SMALL,
    ["refused", "luo-v6", "luo-v5", "panic"],
    |m, a| m.write(a.luo, b"luo-v6")
);
damaged!(luo_version_old, SMALL, ["refused", "luo-v4"], |m, a| {
    m.write(a.luo, b"luo-v4")
});
damaged!(
    luo_compatible_empty,
    SMALL,
    ["LUO", "compatible is empty"],
    |m, a| m.write(a.luo, &[0; 8])
);
damaged!(
    luo_compatible_unterminated,
    SMALL,
    ["LUO", "not terminated"],
    |m, a| {
        m.write(a.luo, b"luo-v5..");
    }
);
damaged!(
    luo_compatible_not_text,
    SMALL,
    ["LUO", "not valid text"],
    |m, a| m.write(a.luo, &[0xff; 4])
);
damaged!(luo_of_another_name, SMALL, ["refused", "lua-v5"], |m, a| m
    .write(a.luo, b"lua-v5"));
damaged!(
    liveupdate_num_0,
    SMALL,
    ["liveupdate_num", "impossible value"],
    |m, a| {
        m.set_u64(a.luo + 8, 0);
    }
);
built!(
    luo_composite_with_an_unknown_part,
    ["refused", "zip"],
    || {
        let mut b = Builder::new();
        b.luo_compatible = "luo-v5;block-v1;zip-v1".into();
        b.session_of("s", &[]);
        b.finish().mem
    }
);
address!(sessions_pa, SMALL, |a| a.luo + 16, |a| a.luo);
address!(flbs_pa, SMALL, |a| a.luo + 24, |a| a.blocks[0]);
damaged!(
    sessions_pa_an_order_1_range,
    SMALL,
    ["impossible order"],
    |m, a| m.set_u64(a.luo + 16, a.keys.iter().find(|k| k.1 == 1).unwrap().0)
);
