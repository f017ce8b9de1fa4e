"""The small world behind the quickstart model: tables of everyday facts and lists of words.

Every row is our own writing. The text generator tells these facts in prose, and the conversation generator asks
about them, so that the tiny base model already knows what the companion will be asked. This module only holds
words: it knows no templates, no randomness and no files.
"""

Row = dict[str, str]


def table(text: str) -> list[Row]:
    """Read a table whose first line names the columns and whose cells are separated by a bar."""
    lines = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]]


def words(text: str) -> list[str]:
    """Read a list whose entries are separated by commas."""
    return [entry.strip() for entry in text.replace("\n", " ").split(",")]


ANIMALS = table("""
one | many | food | place | body | habit
cat | cats | fish and meat | in warm houses | soft fur and quiet feet | sleep in the sun
dog | dogs | meat and dry food | close to people | a wet nose and a happy tail | run after a ball
cow | cows | fresh grass | on green farms | big brown eyes | give us milk
horse | horses | hay and apples | in wide fields | long strong legs | run very fast
goat | goats | leaves and grass | on steep hills | small horns and a short beard | climb on rocks
sheep | sheep | short green grass | on quiet hills | thick white wool | stay close together
pig | pigs | corn and old fruit | in muddy yards | a round pink nose | roll in the mud
hen | hens | seeds and corn | in small wooden houses | brown feathers | lay eggs every morning
duck | ducks | water plants and bread | on ponds | flat yellow feet | swim in a line
rabbit | rabbits | carrots and green leaves | in holes under the ground | long soft ears | jump through the grass
mouse | mice | cheese and seeds | in small holes in the wall | tiny feet and a thin tail | hide from the cat
fox | foxes | mice and berries | at the edge of the forest | red fur and a thick tail | hunt at night
bear | bears | honey and fish | in deep forests | thick fur and heavy feet | sleep all winter
owl | owls | mice and insects | in old trees | big round eyes | fly at night
bee | bees | sweet juice from flowers | in busy hives | yellow and black stripes | make honey
frog | frogs | flies and insects | near cool water | smooth green skin | sing in the evening
fish | fish | small plants and worms | in rivers and lakes | shiny skin and strong tails | swim all day
bird | birds | seeds and worms | in nests high in the trees | light wings | sing in the morning
elephant | elephants | leaves and fruit | in warm lands | huge ears and a long nose | wash in the river
lion | lions | meat | on dry yellow plains | golden fur and strong teeth | rest under trees
monkey | monkeys | bananas and nuts | in tall jungle trees | long arms and clever hands | jump from branch to branch
turtle | turtles | leaves and small fish | near the warm sea | a hard round shell | walk very slowly
whale | whales | tiny sea animals | in the deep sea | huge grey bodies | sing under the water
penguin | penguins | cold sea fish | on the ice | black and white feathers | walk in a funny way
""")

DISHES = table("""
dish | parts | steps | side
vegetable soup | carrots, onions and potatoes | cut the vegetables and boil them slowly in a big pot | fresh bread
pancakes | flour, milk and eggs | mix everything in a bowl and fry it in a hot pan | honey and berries
apple pie | apples, sugar and butter | put sweet apples in the dough and bake it until it is golden | a little cream
salad | green leaves, tomatoes and oil | wash the leaves and mix them with oil and salt | cheese
rice | rice, water and salt | boil the rice in salted water and let it rest | beans
omelettes | eggs, butter and salt | beat the eggs and cook them gently in butter | toast
tea | water and tea leaves | pour hot water over the leaves and wait four minutes | lemon and honey
hot chocolate | milk, sugar and chocolate | warm the milk and stir in the chocolate | a small cookie
bread | flour, water and salt | press the dough well, let it rise and bake it | butter
sandwiches | bread, cheese and tomatoes | put cheese and tomatoes between two slices of bread | an apple
pasta | pasta, tomatoes and oil | boil the pasta and add a warm tomato sauce | a green salad
cookies | butter, sugar and flour | make small balls of dough and bake them for ten minutes | cold milk
baked potatoes | potatoes, butter and salt | bake the potatoes until the skin is crisp | sour cream
fruit salad | apples, pears and grapes | cut the fruit into small pieces and add lemon juice | yogurt
lemonade | lemons, sugar and water | mix lemon juice with sugar and cold water | ice
bean stew | beans, onions and tomatoes | cook the beans slowly with onions and tomatoes | rice
porridge | oats, milk and salt | stir the oats in warm milk until they are soft | brown sugar
chocolate cake | flour, eggs and chocolate | mix the dough, pour it into a round pan and bake it | fresh cream
""")

FEELINGS = table("""
tone | feeling | time | advice
bad | tired | after a long day | lie down and rest for a while
bad | sad | after bad news | talk to a friend you trust
bad | lonely | in a new town | call someone you love
bad | angry | after a fight | take a slow walk and breathe
bad | nervous | before a test | breathe slowly and count to ten
bad | afraid | in the dark | turn on a small light
bad | worried | about tomorrow | write your worries on paper
bad | bored | on a rainy afternoon | make something with your hands
bad | sick | in the morning | stay in bed and drink warm tea
bad | hungry | before dinner | eat an apple or some bread
bad | thirsty | after a long run | drink a glass of cold water
bad | cold | in the winter wind | put on a warm sweater
bad | confused | after a hard lesson | ask one small question at a time
bad | shy | with new people | smile and say your name
bad | jealous | of a friend | think of the good things you have
bad | guilty | after a lie | say sorry and tell the truth
bad | stressed | at work | do one small thing at a time
bad | homesick | far from home | write a letter to your family
bad | disappointed | after a lost game | be kind to yourself and try again
bad | hurt | after unkind words | say how you feel in a calm voice
bad | lost | in a big city | stop and ask a friendly person
good | happy | on a sunny morning | share it with a friend
good | proud | after hard work | tell someone about it
good | excited | before a trip | make a list of your plans
good | grateful | for a good friend | say thank you
good | calm | by the sea | sit still and enjoy it
good | hopeful | at the start of spring | plan one small step
good | curious | about the stars | read a good book about it
good | relieved | after the test | take a deep breath and smile
good | cheerful | on the way home | sing your favourite song
good | brave | before the first day | help someone who is afraid
""")

GOALS = table("""
goal | advice | reason
sleep better | put your phone away and keep the room dark | a quiet mind falls asleep faster
wake up early | go to bed before ten and open the curtains | morning light tells the body to wake up
make new friends | smile, listen and ask kind questions | people like to be heard
learn a language | practise ten new words every day | small steps stay in the memory
save money | write down what you buy each week | you can only change what you see
eat healthy food | buy fresh fruit and cook at home | fresh food gives you energy
clean a messy room | start with the bed and then the floor | one clean corner gives you hope
remember names | say the name aloud and repeat it | a spoken name is easier to keep
get stronger | walk every day and lift small weights | muscles grow with practice
read more books | keep a book next to your bed | a book close by is soon opened
feel less alone | call an old friend or join a club | a friendly voice warms the heart
write a good letter | think of one person and tell the truth | honest words are easy to read
say sorry | say what you did and listen quietly | a true sorry opens a closed door
help a sad friend | sit beside your friend and listen | nobody wants to be sad alone
study for a test | make a plan and take short breaks | a rested mind learns more
calm down | breathe in slowly and count to five | slow breath makes a slow heart
be more patient | wait a moment before you speak | a short wait can stop a long fight
stay warm | wear thick socks and a wool hat | wool keeps the warm air close
stay healthy | drink water, sleep well and move | the body likes good habits
cook for friends | choose a simple dish and start early | simple food leaves time to talk
find a lost key | look in your coat and under the table | keys like to fall from pockets
thank a teacher | write a short card with kind words | teachers keep kind words for years
use less paper | write on both sides of the page | every page was once a tree
plan a party | choose a day and invite your friends early | friends need time to plan
stop being late | set a clock ten minutes ahead | a little extra time brings peace
""")

PLACES = table("""
place | there | sight | way | act
the sea | at the sea | blue water and white birds | by train | swim and look for shells
the mountains | in the mountains | high rocks and fresh snow | by bus | walk on long paths
the forest | in the forest | tall trees and soft green moss | on foot | listen to the birds
the city | in the city | bright shops and busy streets | by train | visit museums and cafes
the lake | at the lake | still water and small boats | by bike | fish and swim
the village | in the village | old stone houses and a small church | by bus | buy fresh bread
the desert | in the desert | yellow sand and a wide sky | by car | watch the stars
the island | on the island | green hills and quiet beaches | by boat | rest under the palm trees
the park | in the park | old trees and a round pond | on foot | feed the ducks
the farm | on the farm | red barns and brown cows | by car | pick apples
the river | at the river | clear water and round stones | by bike | paddle a small boat
the market | at the market | fruit, flowers and loud voices | on foot | taste the cheese
the zoo | at the zoo | monkeys, lions and tall birds | by tram | watch the animals eat
the library | in the library | long shelves and quiet rooms | by tram | read and borrow books
the beach | on the beach | warm sand and gentle waves | by car | build castles in the sand
the castle | in the castle | thick walls and a high tower | by bus | climb the old stairs
""")

PLANTS = table("""
plant | spot | care | season
tomatoes | in a sunny corner | water them every morning | in late summer
roses | near a warm wall | cut the dry branches in spring | in early summer
carrots | in soft deep soil | keep the ground free of stones | in autumn
sunflowers | in full sun | give them a strong stick | in summer
potatoes | in dark rich soil | cover the roots with more soil | in autumn
strawberries | in a bright bed | put dry straw under the fruit | in June
tulips | in a cool bed | plant the bulbs before the frost | in spring
beans | beside a tall fence | let them climb on strings | in summer
herbs | in a pot by the window | cut a few leaves every week | all year
apples | on a young tree | give the tree room and light | in autumn
onions | in dry light soil | pull out the weeds | in late summer
pumpkins | on a wide piece of land | give them much water | in October
peas | in a shady bed | keep the soil wet | in spring
cucumbers | in a warm glass house | do not let the soil get dry | in July
""")

WEATHER = table("""
kind | look | wear | act
rain | grey clouds and shiny streets | a coat and rubber boots | read by the window
snow | white roofs and quiet gardens | a thick coat and gloves | build a snowman
wind | bending trees and flying leaves | a jacket that closes well | fly a kite
sunshine | a blue sky and long shadows | a hat and a light shirt | have a picnic
fog | pale streets and soft lamps | something bright | walk slowly and carefully
a storm | dark clouds and white lightning | dry clothes | stay inside and light a candle
frost | silver grass and ice on the windows | a scarf and warm socks | drink hot chocolate
heat | dry grass and sleepy dogs | thin clothes | rest in the shade
""")

JOBS = table("""
job | work | need
baker | bakes bread before the sun comes up | strong arms
doctor | helps sick people get well | a calm heart
teacher | helps children learn new things | much patience
farmer | grows food for many people | good weather
gardener | takes care of plants and trees | gentle hands
nurse | looks after people in the hospital | kind words
cook | makes warm meals for hungry guests | a good nose
driver | takes people from one place to another | careful eyes
painter | makes pictures with many colours | a quiet room
singer | sings songs for a big crowd | a clear voice
writer | writes stories and books | a good memory
carpenter | builds tables, chairs and doors | a sharp saw
tailor | makes and mends clothes | a steady hand
sailor | works on a ship at sea | a strong ship
pilot | flies a plane through the clouds | a clear head
firefighter | puts out fires and saves people | great courage
librarian | takes care of books and helps readers | good order
postman | brings letters to every house | fast feet
builder | builds houses out of stone and wood | a strong back
shepherd | watches the sheep on the hills | a good dog
""")

THINGS = table("""
thing | use
an umbrella | keeps you dry in the rain
a lamp | gives light in a dark room
a clock | shows you the time
a key | opens a locked door
a blanket | keeps you warm at night
a map | shows you the way
a spoon | helps you eat soup
a knife | cuts bread and fruit
a broom | sweeps the dust from the floor
a ladder | helps you reach high places
a mirror | shows you your own face
a basket | carries fruit from the market
a bell | calls people with its sound
a candle | gives a small warm light
a scarf | keeps your neck warm
a pillow | gives your head a soft place to rest
a fridge | keeps food cold and fresh
an oven | bakes bread and cakes
a stamp | lets a letter travel by post
a needle | sews a button on a shirt
a kettle | boils water for tea
a bucket | holds water for the garden
""")

COLOURS = table("""
thing | colour
a lemon | yellow
grass | green
snow | white
the sky on a clear day | blue
a tomato | red
coal | black
an orange | orange
chocolate | brown
a banana | yellow
milk | white
a strawberry | red
a frog | green
the night sky | black
a carrot | orange
a rainy cloud | grey
a plum | purple
an elephant | grey
the sea | blue
a leaf in spring | green
the sun | yellow
lavender | purple
a pumpkin | orange
a ripe cherry | red
bread crust | brown
""")

HOBBIES = table("""
hobby | start | joy
drawing | draw one simple thing every day | your eyes notice small things
singing | sing along with an easy song | your whole body feels light
the piano | learn one short tune with one hand | your fingers learn to dance
the guitar | learn three easy chords | you can play for your friends
dancing | move slowly to music you like | your feet forget your worries
reading | choose a thin book about something you love | you can travel without a ticket
swimming | practise breathing in low water | the water carries you
cycling | ride on a quiet road in the morning | the wind cools your face
fishing | go with someone who knows the river | time becomes slow
knitting | make a simple scarf with thick wool | you can wear your own work
running | run for five minutes and then walk | your mind becomes clear
photography | take a picture of the same tree each week | you learn to see light
chess | learn how each piece moves | every game is a new story
""")

OPPOSITES = words("""hot cold, big small, happy sad, day night, young old, fast slow, light dark, loud quiet, wet dry,
open closed, full empty, early late, soft hard, rich poor, clean dirty, long short, high low, near far, strong weak,
summer winter, black white, sweet sour, easy difficult, kind cruel""")
