"""Story material for the quickstart pretraining text: little stories told as a row of beats.

The slots are those of quickstart_templates. This module only holds material: it draws nothing and knows no chat form.
"""

from quickstart_templates import Frame, frame

LOST_THING = frame("""
{time} {name1} lost a {look} {object1}.
{name1} had a {look} {object1}, and {time} it was gone.
there was a {look} {object1} that {name1} loved very much. {time} {he1} could not find it.

{he1} looked {spot} and {spot}, but it was not there.
{name1} asked {his1} {kin}, but nobody had seen the {object1}.
{he1} was {mood} and did not know where to look.

"do not worry," said {name2}. "We will look together."
{name2} heard about it and came to help.
then {name2} had a good idea. "Think of the last time you held it," {he2} said.

at last they found the {object1} {spot}.
in the end the {object1} was {spot}, where it had been all the time.
after a long search {name2} saw the {object1} {spot}.

{name1} laughed and said thank you.
"thank you," said {name1}. "You are a good friend."
that evening they ate {food} together, and {truth}.
{name1} learned that {truth}.""")

NEW_FRIEND = frame("""
{name1} was new in the town and knew nobody.
it was the first day of school for {name1}, and {he1} felt {mood}.
{time} {name1} sat alone {spot}.

{name2} saw {him1} and asked, "Would you like some {food}?"
a child named {name2} came near. "Do you like to {act}?" {he2} asked.
then {name2} smiled and sat down beside {him1}.

"yes, please," said {name1}, and {his1} heart felt lighter.
{name1} was shy, but {he1} said yes.
they talked about {subject}, about {animal1.many} and about their favourite {food}.

soon they {past} and {past} together.
from that day they met every {day}.
they found out that they both liked to {act}.

today {name1} and {name2} are best friends.
{name1} never felt lonely in that town again.
"{truth}," said {name1} many years later.""")

HELPED_ANIMAL = frame("""
{time} {name1} found a {size} {animal1.one} {spot}.
a {size} {animal1.one} sat {spot}, and {name1} saw it {time}.
once there was a {size} {animal1.one} with {animal1.body}. It was cold and lost.

the {animal1.one} was hungry and afraid.
{he1} knew that {animal1.many} eat {animal1.food}.
"poor little {animal1.one}," said {name1}. "Are you hungry?"

{name1} gave it {animal1.food} and spoke in a quiet voice.
{his1} {kin} brought {animal1.food} and a soft blanket.
{he1} {past} and then brought some {animal1.food}.

after {number} days the {animal1.one} was strong again.
soon the {animal1.one} was well and was happy. {animal1.many} {animal1.habit}, and so did this one.
the {animal1.one} looked at {him1} and was not afraid any more.

then it went back to its home. {animal1.many} live {animal1.place}.
{name1} opened the door, and the {animal1.one} was free.
{name1} and the {animal1.one} stayed friends for a long time.""")

HARD_TASK = frame("""
{name1} wanted to learn to {act}.
"I will never learn to {act}," said {name1} {time}.
{name1} had one big dream: to {act} better than anyone in the village.

at first it was very difficult.
the first time it went wrong, and {name1} was sad.
{he1} tried {number} times and failed {number} times.

"{truth}," said {his1} {kin}.
{his1} {kin} told {him1} to rest and try again the next day.
{name2} said, "I was slow in the beginning too. Just keep going."

so {name1} practised every {day}.
{he1} did a little every day, even when {he1} was tired.
week after week {he1} tried again.

{time} it worked at last, and {name1} felt proud.
now {name1} can do it with ease, and {he1} teaches {name2}.
at the end of the year everyone was proud of {him1}.""")

DAY = frame("""
it was {day}, and {weather}. {name1} was {mood}.
{time} {name1} got up early, and {weather}.
{weather} when {name1} woke up.

{he1} {past} and {past}.
first {he1} {past}. Then {he1} {past}.
for breakfast there was {food}.
{name1} ate {food} and {past}.

at noon {name2} came with a {look} {object}.
later {he1} heard {sound} and {past}.
in the afternoon {name1} went to {place1.place} {place1.way}.
{he1} met {name2} {spot}, and they talked about {subject}.

they wanted to {act}, so they did.
{name2} told a story about a {size} {animal1.one}, and both laughed.
"do you hear that?" asked {name2}. It was {sound}.

in the evening {name1} was {mood} and {past}.
it was a good day, and {name1} slept well.
before bed {name1} thought: {truth}.""")

JOURNEY = frame("""
{time} {name1} and {name2} went to {place1.place} {place1.way}.
"where shall we go?" asked {name1}. "To {place1.place}," said {name2}.
{name1} had never been to {place1.place}, so {name2} took {him1} there {place1.way}.

they packed {food}, a {look} {object} and a {tone} blanket.
on the way they counted {number} {things}.
{weather}, and on the way they heard {sound}.

when they came to {place1.place}, they saw {place1.sight}.
"how beautiful!" said {name1}, because there was {place1.sight}.
it was just as {name2} had said.

they wanted to {place1.act}, and so they did until evening.
"first we {place1.act} and then we eat," said {name2}.
{name1} was {mood} and took many pictures.

on the way home {name1} fell asleep.
"let us come back in {number} weeks," said {name1}.
it was late when they came home, but they were happy.""")

MARKET = frame("""
{name1} went to the market to buy {food}.
every {day} {name1} buys {food} and {food} at the market.
"what do you need today?" asked the woman at the market.

"I want to make {dish1.dish}," said {name1}. "I need {dish1.parts}."
{he1} needed {dish1.parts} for {dish1.dish}.
"good morning," said {name1}. "I would like {number} {things}, please."

"that makes {number} coins," said the woman.
the woman at the market was {good} and gave {him1} {food} too.
{he1} paid {number} coins and put everything in a {look} basket.

at home {he1} remembered what to do: {dish1.steps}.
then {name2} came, and they ate {dish1.dish} with {dish1.side}.
{name1} went home and made {dish1.dish} for {his1} {kin}.

it tasted wonderful.
everyone wanted some more.
"the best things are simple," said {name2}.""")

NIGHT = frame("""
{name1} could not sleep, because {he1} heard {sound}.
it was night, and {name1} lay awake.
{time} {name1} had a strange dream.

in the dream a {size} {tone} {animal1.one} wanted to {act}.
{he1} thought about {place1.place} and {place1.sight}.
outside there was {sound}, and {weather}.

"can you hear me?" asked the {animal1.one}. "I can help you to {act}."
then {he1} remembered a {look} {object} {spot}.
{his1} {kin} came in and asked, "What is wrong?"

"close your eyes and think of {goodthing}," said a quiet voice.
{name1} breathed slowly and counted {number} {things}.
"sleep well," said {his1} {kin}. "I am here."

soon {name1} was asleep.
in the morning {he1} told {name2} about it.
when {he1} woke up, it was {day}, and all was well.""")

STORIES: list[Frame] = [LOST_THING, NEW_FRIEND, HELPED_ANIMAL, HARD_TASK, DAY, JOURNEY, MARKET, NIGHT]
