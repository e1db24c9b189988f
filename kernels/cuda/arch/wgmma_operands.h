// The operand lists of wgmma.mma_async, one for each size: PTX wants every accumulator named. For sm90.h only.
#pragma once

#define GRAFT_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])

// clang-format off
#define GRAFT_NAMES_8 "%0,%1,%2,%3"
#define GRAFT_NAMES_16 GRAFT_NAMES_8 ",%4,%5,%6,%7"
#define GRAFT_NAMES_24 GRAFT_NAMES_16 ",%8,%9,%10,%11"
#define GRAFT_NAMES_32 GRAFT_NAMES_24 ",%12,%13,%14,%15"
#define GRAFT_NAMES_40 GRAFT_NAMES_32 ",%16,%17,%18,%19"
#define GRAFT_NAMES_48 GRAFT_NAMES_40 ",%20,%21,%22,%23"
#define GRAFT_NAMES_56 GRAFT_NAMES_48 ",%24,%25,%26,%27"
#define GRAFT_NAMES_64 GRAFT_NAMES_56 ",%28,%29,%30,%31"
#define GRAFT_NAMES_72 GRAFT_NAMES_64 ",%32,%33,%34,%35"
#define GRAFT_NAMES_80 GRAFT_NAMES_72 ",%36,%37,%38,%39"
#define GRAFT_NAMES_88 GRAFT_NAMES_80 ",%40,%41,%42,%43"
#define GRAFT_NAMES_96 GRAFT_NAMES_88 ",%44,%45,%46,%47"
#define GRAFT_NAMES_104 GRAFT_NAMES_96 ",%48,%49,%50,%51"
#define GRAFT_NAMES_112 GRAFT_NAMES_104 ",%52,%53,%54,%55"
#define GRAFT_NAMES_120 GRAFT_NAMES_112 ",%56,%57,%58,%59"
#define GRAFT_NAMES_128 GRAFT_NAMES_120 ",%60,%61,%62,%63"
#define GRAFT_NAMES_136 GRAFT_NAMES_128 ",%64,%65,%66,%67"
#define GRAFT_NAMES_144 GRAFT_NAMES_136 ",%68,%69,%70,%71"
#define GRAFT_NAMES_152 GRAFT_NAMES_144 ",%72,%73,%74,%75"
#define GRAFT_NAMES_160 GRAFT_NAMES_152 ",%76,%77,%78,%79"
#define GRAFT_NAMES_168 GRAFT_NAMES_160 ",%80,%81,%82,%83"
#define GRAFT_NAMES_176 GRAFT_NAMES_168 ",%84,%85,%86,%87"
#define GRAFT_NAMES_184 GRAFT_NAMES_176 ",%88,%89,%90,%91"
#define GRAFT_NAMES_192 GRAFT_NAMES_184 ",%92,%93,%94,%95"
#define GRAFT_NAMES_200 GRAFT_NAMES_192 ",%96,%97,%98,%99"
#define GRAFT_NAMES_208 GRAFT_NAMES_200 ",%100,%101,%102,%103"
#define GRAFT_NAMES_216 GRAFT_NAMES_208 ",%104,%105,%106,%107"
#define GRAFT_NAMES_224 GRAFT_NAMES_216 ",%108,%109,%110,%111"
#define GRAFT_NAMES_232 GRAFT_NAMES_224 ",%112,%113,%114,%115"
#define GRAFT_NAMES_240 GRAFT_NAMES_232 ",%116,%117,%118,%119"
#define GRAFT_NAMES_248 GRAFT_NAMES_240 ",%120,%121,%122,%123"
#define GRAFT_NAMES_256 GRAFT_NAMES_248 ",%124,%125,%126,%127"
#define GRAFT_SUMS_8 GRAFT_D4(0)
#define GRAFT_SUMS_16 GRAFT_SUMS_8, GRAFT_D4(4)
#define GRAFT_SUMS_24 GRAFT_SUMS_16, GRAFT_D4(8)
#define GRAFT_SUMS_32 GRAFT_SUMS_24, GRAFT_D4(12)
#define GRAFT_SUMS_40 GRAFT_SUMS_32, GRAFT_D4(16)
#define GRAFT_SUMS_48 GRAFT_SUMS_40, GRAFT_D4(20)
#define GRAFT_SUMS_56 GRAFT_SUMS_48, GRAFT_D4(24)
#define GRAFT_SUMS_64 GRAFT_SUMS_56, GRAFT_D4(28)
#define GRAFT_SUMS_72 GRAFT_SUMS_64, GRAFT_D4(32)
#define GRAFT_SUMS_80 GRAFT_SUMS_72, GRAFT_D4(36)
#define GRAFT_SUMS_88 GRAFT_SUMS_80, GRAFT_D4(40)
#define GRAFT_SUMS_96 GRAFT_SUMS_88, GRAFT_D4(44)
#define GRAFT_SUMS_104 GRAFT_SUMS_96, GRAFT_D4(48)
#define GRAFT_SUMS_112 GRAFT_SUMS_104, GRAFT_D4(52)
#define GRAFT_SUMS_120 GRAFT_SUMS_112, GRAFT_D4(56)
#define GRAFT_SUMS_128 GRAFT_SUMS_120, GRAFT_D4(60)
#define GRAFT_SUMS_136 GRAFT_SUMS_128, GRAFT_D4(64)
#define GRAFT_SUMS_144 GRAFT_SUMS_136, GRAFT_D4(68)
#define GRAFT_SUMS_152 GRAFT_SUMS_144, GRAFT_D4(72)
#define GRAFT_SUMS_160 GRAFT_SUMS_152, GRAFT_D4(76)
#define GRAFT_SUMS_168 GRAFT_SUMS_160, GRAFT_D4(80)
#define GRAFT_SUMS_176 GRAFT_SUMS_168, GRAFT_D4(84)
#define GRAFT_SUMS_184 GRAFT_SUMS_176, GRAFT_D4(88)
#define GRAFT_SUMS_192 GRAFT_SUMS_184, GRAFT_D4(92)
#define GRAFT_SUMS_200 GRAFT_SUMS_192, GRAFT_D4(96)
#define GRAFT_SUMS_208 GRAFT_SUMS_200, GRAFT_D4(100)
#define GRAFT_SUMS_216 GRAFT_SUMS_208, GRAFT_D4(104)
#define GRAFT_SUMS_224 GRAFT_SUMS_216, GRAFT_D4(108)
#define GRAFT_SUMS_232 GRAFT_SUMS_224, GRAFT_D4(112)
#define GRAFT_SUMS_240 GRAFT_SUMS_232, GRAFT_D4(116)
#define GRAFT_SUMS_248 GRAFT_SUMS_240, GRAFT_D4(120)
#define GRAFT_SUMS_256 GRAFT_SUMS_248, GRAFT_D4(124)

// X(columns, the names of the seven operands behind the accumulators)
#define GRAFT_WGMMA_SIZES(X) \
  X(8, "%4", "%5", "%6", "%7", "%8", "%9", "%10") \
  X(16, "%8", "%9", "%10", "%11", "%12", "%13", "%14") \
  X(24, "%12", "%13", "%14", "%15", "%16", "%17", "%18") \
  X(32, "%16", "%17", "%18", "%19", "%20", "%21", "%22") \
  X(40, "%20", "%21", "%22", "%23", "%24", "%25", "%26") \
  X(48, "%24", "%25", "%26", "%27", "%28", "%29", "%30") \
  X(56, "%28", "%29", "%30", "%31", "%32", "%33", "%34") \
  X(64, "%32", "%33", "%34", "%35", "%36", "%37", "%38") \
  X(72, "%36", "%37", "%38", "%39", "%40", "%41", "%42") \
  X(80, "%40", "%41", "%42", "%43", "%44", "%45", "%46") \
  X(88, "%44", "%45", "%46", "%47", "%48", "%49", "%50") \
  X(96, "%48", "%49", "%50", "%51", "%52", "%53", "%54") \
  X(104, "%52", "%53", "%54", "%55", "%56", "%57", "%58") \
  X(112, "%56", "%57", "%58", "%59", "%60", "%61", "%62") \
  X(120, "%60", "%61", "%62", "%63", "%64", "%65", "%66") \
  X(128, "%64", "%65", "%66", "%67", "%68", "%69", "%70") \
  X(136, "%68", "%69", "%70", "%71", "%72", "%73", "%74") \
  X(144, "%72", "%73", "%74", "%75", "%76", "%77", "%78") \
  X(152, "%76", "%77", "%78", "%79", "%80", "%81", "%82") \
  X(160, "%80", "%81", "%82", "%83", "%84", "%85", "%86") \
  X(168, "%84", "%85", "%86", "%87", "%88", "%89", "%90") \
  X(176, "%88", "%89", "%90", "%91", "%92", "%93", "%94") \
  X(184, "%92", "%93", "%94", "%95", "%96", "%97", "%98") \
  X(192, "%96", "%97", "%98", "%99", "%100", "%101", "%102") \
  X(200, "%100", "%101", "%102", "%103", "%104", "%105", "%106") \
  X(208, "%104", "%105", "%106", "%107", "%108", "%109", "%110") \
  X(216, "%108", "%109", "%110", "%111", "%112", "%113", "%114") \
  X(224, "%112", "%113", "%114", "%115", "%116", "%117", "%118") \
  X(232, "%116", "%117", "%118", "%119", "%120", "%121", "%122") \
  X(240, "%120", "%121", "%122", "%123", "%124", "%125", "%126") \
  X(248, "%124", "%125", "%126", "%127", "%128", "%129", "%130") \
  X(256, "%128", "%129", "%130", "%131", "%132", "%133", "%134")
// clang-format on
