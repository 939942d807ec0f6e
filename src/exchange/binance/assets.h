// Assets of Binance and binance.us, now and in the past: what tells BNB/USD from BN/BUSD in a symbol that has no slash.
// A new listing that is not here costs nothing but such doubts: exchange/binance/binance.h.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace k2::exchange {

// What a symbol may end with.
inline constexpr std::string_view kBinanceQuotes[] = {
    "FDUSD", "RLUSD", "BFUSD", "USDT", "USDC", "TUSD", "BUSD", "XUSD", "USD1", "USDE", "USDP", "USDS", "BIDR",
    "BVND",  "IDRT",  "BKRW",  "DOGE", "EURI", "AEUR", "GYEN", "BTC",  "ETH",  "BNB",  "USD",  "EUR",  "TRY",
    "BRL",   "GBP",   "AUD",   "JPY",  "RUB",  "UAH",  "NGN",  "ZAR",  "PLN",  "RON",  "ARS",  "MXN",  "CZK",
    "COP",   "IDR",   "VAI",   "DAI",  "PAX",  "UST",  "TRX",  "XRP",  "SOL",  "DOT",  "U"};

// Sorted by their bytes.
inline constexpr auto kBinanceAssets = std::to_array<std::string_view>(
    {"1000CAT",     "1000CHEEMS", "1000SATS", "1INCH",   "1MBABYDOGE", "2Z",     "A",         "A2Z",     "AAVE",
     "ACA",         "ACE",        "ACH",      "ACM",     "ACT",        "ACX",    "ADA",       "ADX",     "AEUR",
     "AEVO",        "AGIX",       "AGLD",     "AI",      "AIXBT",      "AKRO",   "ALCX",      "ALGO",    "ALICE",
     "ALPACA",      "ALPHA",      "ALPINE",   "ALT",     "AMB",        "AMP",    "ANC",       "ANIME",   "ANKR",
     "ANT",         "APE",        "API3",     "APT",     "AR",         "ARB",    "ARDR",      "ARK",     "ARKM",
     "ARPA",        "ASR",        "AST",      "ASTER",   "ASTR",       "AT",     "ATA",       "ATM",     "ATOM",
     "AUCTION",     "AUD",        "AUDIO",    "AUTO",    "AVA",        "AVAX",   "AVNT",      "AWE",     "AXL",
     "AXS",         "BABY",       "BADGER",   "BAKE",    "BAL",        "BANANA", "BANANAS31", "BAND",    "BAR",
     "BARD",        "BAT",        "BB",       "BCC",     "BCD",        "BCH",    "BCHABC",    "BCHSV",   "BCN",
     "BCPT",        "BDOT",       "BEAM",     "BEAMX",   "BEAR",       "BEL",    "BERA",      "BETA",    "BETH",
     "BFUSD",       "BICO",       "BIFI",     "BIGTIME", "BIO",        "BLUR",   "BLZ",       "BMT",     "BNB",
     "BNSOL",       "BNT",        "BNX",      "BOME",    "BOND",       "BONK",   "BOT",       "BQX",     "BRD",
     "BROCCOLI714", "BSW",        "BTC",      "BTCST",   "BTG",        "BTS",    "BTT",       "BTTC",    "BULL",
     "BURGER",      "BUSD",       "C",        "C98",     "CAKE",       "CATI",   "CELO",      "CELR",    "CETUS",
     "CFX",         "CGPT",       "CHAT",     "CHESS",   "CHR",        "CHZ",    "CITY",      "CKB",     "CLOUD",
     "CLV",         "COCOS",      "COMBO",    "COMP",    "COOKIE",     "COS",    "COTI",      "COW",     "CREAM",
     "CRV",         "CTK",        "CTSI",     "CTXC",    "CVC",        "CVP",    "CVX",       "CYBER",   "D",
     "DAI",         "DAR",        "DASH",     "DATA",    "DCR",        "DEGO",   "DENT",      "DEXE",    "DF",
     "DGB",         "DIA",        "DIGITAL",  "DOCK",    "DODO",       "DOGE",   "DOGS",      "DOLO",    "DOT",
     "DREP",        "DUSK",       "DYDX",     "DYM",     "EDEN",       "EDU",    "EGLD",      "EIGEN",   "ELF",
     "ENA",         "ENJ",        "ENS",      "ENSO",    "EOS",        "EPIC",   "EPX",       "ERA",     "ERD",
     "ERN",         "ETC",        "ETH",      "ETHFI",   "EUR",        "EURI",   "FARM",      "FDUSD",   "FET",
     "FF",          "FIDA",       "FIL",      "FIO",     "FIRO",       "FIS",    "FLM",       "FLOKI",   "FLOW",
     "FLUX",        "FOR",        "FORM",     "FORTH",   "FRONT",      "FTM",    "FTT",       "FUN",     "FXS",
     "G",           "GAL",        "GALA",     "GAS",     "GBP",        "GFT",    "GHST",      "GLM",     "GLMR",
     "GMT",         "GMX",        "GNO",      "GNS",     "GPS",        "GRT",    "GTC",       "GTO",     "GUN",
     "GYEN",        "HAEDAL",     "HARD",     "HBAR",    "HC",         "HEI",    "HEMI",      "HFT",     "HIFI",
     "HIGH",        "HIVE",       "HMSTR",    "HNT",     "HOLO",       "HOME",   "HOOK",      "HOT",     "HUMA",
     "HYPER",       "ICP",        "ICX",      "ID",      "IDEX",       "IKA",    "ILV",       "IMX",     "INIT",
     "INJ",         "INS",        "IO",       "IOST",    "IOTA",       "IOTX",   "IQ",        "IRIS",    "JASMY",
     "JOE",         "JST",        "JTO",      "JUP",     "JUV",        "KAIA",   "KAITO",     "KAVA",    "KDA",
     "KEEP",        "KERNEL",     "KEY",      "KITE",    "KLAY",       "KMD",    "KMNO",      "KNC",     "KP3R",
     "KSM",         "LA",         "LAYER",    "LAZIO",   "LDO",        "LEND",   "LEVER",     "LINA",    "LINEA",
     "LINK",        "LISTA",      "LIT",      "LOKA",    "LOOM",       "LPT",    "LQTY",      "LRC",     "LSK",
     "LTC",         "LTO",        "LUMIA",    "LUNA",    "LUNC",       "MAGIC",  "MANA",      "MANTA",   "MASK",
     "MATIC",       "MAV",        "MBL",      "MBOX",    "MC",         "MCO",    "MDT",       "MDX",     "ME",
     "MEME",        "METIS",      "MFT",      "MINA",    "MIR",        "MIRA",   "MITH",      "MITO",    "MKR",
     "MLN",         "MOB",        "MOODENG",  "MORPHO",  "MOVE",       "MOVR",   "MTL",       "MUBARAK", "MULTI",
     "NANO",        "NAS",        "NBS",      "NEAR",    "NEIRO",      "NEO",    "NEWT",      "NEXO",    "NEXPO",
     "NFP",         "NIL",        "NKN",      "NMR",     "NOM",        "NOT",    "NTRN",      "NULS",    "NXPC",
     "OAX",         "OCEAN",      "OG",       "OGN",     "OM",         "OMG",    "OMNI",      "ONDO",    "ONE",
     "ONG",         "ONT",        "OOKI",     "OP",      "OPEN",       "ORCA",   "ORDI",      "ORN",     "OSMO",
     "OXT",         "PARTI",      "PAX",      "PAXG",    "PDA",        "PEOPLE", "PEPE",      "PERL",    "PERP",
     "PHA",         "PHB",        "PHX",      "PIVX",    "PIXEL",      "PLA",    "PLUME",     "PNT",     "PNUT",
     "POL",         "POLS",       "POLY",     "POLYX",   "POND",       "PORTAL", "PORTO",     "POWR",    "PROM",
     "PROVE",       "PSG",        "PUMP",     "PUNDIX",  "PYR",        "PYTH",   "QI",        "QKC",     "QNT",
     "QTUM",        "QUICK",      "RAD",      "RARE",    "RAY",        "RCN",    "RDNT",      "RED",     "REEF",
     "REI",         "REN",        "RENDER",   "REP",     "REQ",        "RESOLV", "REZ",       "RIF",     "RLC",
     "RLUSD",       "RNDR",       "RON",      "ROSE",    "RPL",        "RSR",    "RUNE",      "RVN",     "S",
     "SAGA",        "SAHARA",     "SAND",     "SANTOS",  "SAPIEN",     "SC",     "SCR",       "SCRT",    "SEI",
     "SFP",         "SHELL",      "SHIB",     "SIGN",    "SKL",        "SKY",    "SLF",       "SLP",     "SNM",
     "SNT",         "SNX",        "SOL",      "SOLV",    "SOMI",       "SOPH",   "SPELL",     "SPK",     "SRM",
     "SSV",         "STEEM",      "STG",      "STMX",    "STO",        "STORJ",  "STORM",     "STPT",    "STRAT",
     "STRAX",       "STRK",       "STX",      "SUI",     "SUN",        "SUPER",  "SUSHI",     "SWRV",    "SXP",
     "SXT",         "SYN",        "SYRUP",    "SYS",     "T",          "TAO",    "TCT",       "THE",     "THETA",
     "TIA",         "TKO",        "TLM",      "TNSR",    "TOMO",       "TON",    "TOWNS",     "TRB",     "TREE",
     "TRIBE",       "TROY",       "TRU",      "TRUMP",   "TRX",        "TST",    "TURBO",     "TURTLE",  "TUSD",
     "TUSDB",       "TUT",        "TVK",      "TWT",     "U",          "UFT",    "UMA",       "UNFI",    "UNI",
     "USD1",        "USDC",       "USDE",     "USDP",    "USDS",       "USDSB",  "USDT",      "UST",     "USTC",
     "USUAL",       "UTK",        "VAI",      "VANA",    "VANRY",      "VELO",   "VELODROME", "VEN",     "VET",
     "VIA",         "VIB",        "VIC",      "VIDT",    "VIRTUAL",    "VITE",   "VOXEL",     "VTHO",    "W",
     "WABI",        "WAL",        "WAN",      "WAVES",   "WAXP",       "WBETH",  "WBTC",      "WCT",     "WIF",
     "WIN",         "WING",       "WLD",      "WLFI",    "WNXM",       "WOO",    "WPR",       "WRX",     "WTC",
     "XAI",         "XEC",        "XEM",      "XLM",     "XMR",        "XNO",    "XPL",       "XRP",     "XTZ",
     "XUSD",        "XVG",        "XVS",      "XZC",     "YB",         "YFI",    "YFII",      "YGG",     "ZBT",
     "ZEC",         "ZEN",        "ZIL",      "ZK",      "ZKC",        "ZKP",    "ZRO",       "ZRX"});
static_assert(std::ranges::is_sorted(kBinanceAssets));

}  // namespace k2::exchange
