package chunk

// What the format's first implementation computed. A change of any of these is a change of the format.
const (
	gearFirst  = 0x32fbc780370eb4ac
	gearDigest = "d20d6e8b74a45010645ed91ab24ee5d69e9288d8e26f0ae96a0ae0cd3652e6e6"
)

var (
	vectorNoise = []int{365554, 263002, 263784, 105566, 274549, 85754, 516708, 222235}
	vectorText  = []int{1048576, 551424}
)
