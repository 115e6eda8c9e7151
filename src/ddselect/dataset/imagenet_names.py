"""Names of ImageNet classes for which WordNet's first lemma makes a poor prompt.

A lemma is replaced where two classes share it, where it more often means another thing (*boxer*, *nail*), or where
few captions use it (*ashcan*, *hair slide*). The name says what the class's images show, so *bib* is a baby's and
*web site* a screenshot, whatever WordNet's definition. All other classes keep their first lemma.
"""

NAMES: dict[str, str] = {
    "n01494475": "hammerhead shark",  # hammerhead
    "n01514668": "rooster",  # cock
    "n01580077": "jay bird",  # jay
    "n01601694": "dipper bird",  # water ouzel
    "n01608432": "kite bird of prey",  # kite
    "n01631663": "red eft newt",  # eft
    "n01664065": "loggerhead turtle",  # loggerhead
    "n01682714": "green anole lizard",  # American chameleon
    "n01755581": "diamondback rattlesnake",  # diamondback
    "n01756291": "sidewinder rattlesnake",  # sidewinder
    "n01776313": "tick arachnid",  # tick
    "n01817953": "African grey parrot",  # African grey
    "n01847000": "male duck",  # drake
    "n01871265": "tusked elephant",  # tusker
    "n02012849": "crane bird",  # crane
    "n02086910": "papillon dog",  # papillon
    "n02096177": "cairn terrier",  # cairn
    "n02096585": "Boston terrier",  # Boston bull
    "n02098413": "Lhasa apso dog",  # Lhasa
    "n02105412": "Australian kelpie dog",  # kelpie
    "n02108089": "boxer dog",  # boxer
    "n02111129": "Leonberger dog",  # Leonberg
    "n02111277": "Newfoundland dog",  # Newfoundland
    "n02112706": "Brussels griffon dog",  # Brabancon griffon
    "n02113023": "Pembroke Welsh corgi",  # Pembroke
    "n02113186": "Cardigan Welsh corgi",  # Cardigan
    "n02123159": "striped house cat",  # tiger cat
    "n02128925": "jaguar big cat",  # jaguar
    "n02134084": "polar bear",  # ice bear
    "n02190166": "housefly",  # fly
    "n02229544": "cricket insect",  # cricket
    "n02231487": "stick insect",  # walking stick
    "n02276258": "admiral butterfly",  # admiral
    "n02277742": "ringlet butterfly",  # ringlet
    "n02279972": "monarch butterfly",  # monarch
    "n02325366": "cottontail rabbit",  # wood rabbit
    "n02328150": "Angora rabbit",  # Angora
    "n02389026": "sorrel horse",  # sorrel
    "n02412080": "ram sheep",  # ram
    "n02415577": "bighorn sheep",  # bighorn
    "n02492035": "capuchin monkey",  # capuchin
    "n02493509": "titi monkey",  # titi
    "n02497673": "ring-tailed lemur",  # Madagascar cat
    "n02509815": "red panda",  # lesser panda
    "n02514041": "snoek fish",  # barracouta
    "n02606052": "rock beauty angelfish",  # rock beauty
    "n02704792": "amphibious vehicle",  # amphibian
    "n02747177": "trash can",  # ashcan
    "n02797295": "wheelbarrow",  # barrow
    "n02814533": "station wagon",  # beach wagon
    "n02814860": "lighthouse",  # beacon
    "n02817516": "bearskin hat",  # bearskin
    "n02825657": "church bell cote",  # bell cote
    "n02834397": "baby bib",  # bib
    "n02869837": "bonnet hat",  # bonnet
    "n02879718": "archery bow",  # bow
    "n02892201": "brass memorial plaque",  # brass
    "n02963159": "knitted cardigan",  # cardigan
    "n03014705": "wooden storage chest",  # chest
    "n03017168": "wind chime",  # chime
    "n03110669": "cornet brass instrument",  # cornet
    "n03126707": "construction crane",  # crane
    "n03250847": "drummer's drumstick",  # drumstick
    "n03337140": "filing cabinet",  # file
    "n03459775": "car radiator grille",  # grille
    "n03476684": "hair clip",  # hair slide
    "n03483316": "hair dryer",  # hand blower
    "n03584829": "clothes iron",  # iron
    "n03594734": "blue jeans",  # jean
    "n03599486": "rickshaw",  # jinrikisha
    "n03673027": "ocean liner",  # liner
    "n03710637": "leotard",  # maillot
    "n03710721": "one-piece swimsuit",  # maillot
    "n03773504": "guided missile",  # missile
    "n03782006": "computer monitor",  # monitor
    "n03786901": "mortar and pestle",  # mortar
    "n03793489": "computer mouse",  # mouse
    "n03803284": "dog muzzle",  # muzzle
    "n03804744": "metal nail",  # nail
    "n03825788": "baby bottle nipple",  # nipple
    "n03832673": "notebook computer",  # notebook
    "n03854065": "pipe organ",  # organ
    "n03895866": "railway passenger car",  # passenger car
    "n03929660": "guitar pick",  # pick
    "n03947888": "pirate ship",  # pirate
    "n03950228": "pitcher jug",  # pitcher
    "n03954731": "carpenter's hand plane",  # plane
    "n03991062": "flowerpot",  # pot
    "n04008634": "artillery shell",  # projectile
    "n04019541": "hockey puck",  # puck
    "n04037443": "race car",  # racer
    "n04067472": "fishing reel",  # reel
    "n04118776": "ruler",  # rule
    "n04125021": "strongbox safe",  # safe
    "n04152593": "CRT screen",  # screen
    "n04243546": "slot machine",  # slot
    "n04277352": "yarn spindle",  # spindle
    "n04311174": "Caribbean steel drum",  # steel drum
    "n04325704": "stole shawl",  # stole
    "n04355933": "sunglass lens",  # sunglass
    "n04367480": "mop",  # swab
    "n04372370": "electric light switch",  # switch
    "n04389033": "army tank",  # tank
    "n04399382": "teddy bear",  # teddy
    "n04428191": "threshing machine",  # thresher
    "n04456115": "flaming torch",  # torch
    "n04515003": "upright piano",  # upright
    "n04523525": "vaulted ceiling",  # vault
    "n04554684": "washing machine",  # washer
    "n04592741": "airplane wing",  # wing
    "n04606251": "shipwreck",  # wreck
    "n04612504": "yawl sailboat",  # yawl
    "n06359193": "website screenshot",  # web site
    "n07579787": "plate of food",  # plate
    "n07747607": "orange fruit",  # orange
    "n10148035": "bridegroom",  # groom
    "n12620546": "rose hip",  # hip
    "n12768682": "buckeye nut",  # buckeye
    "n13133613": "ear of corn",  # ear
}
