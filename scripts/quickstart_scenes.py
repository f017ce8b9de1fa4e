"""Scene material for the quickstart pretraining text: letters, talks, rooms, people and thoughts as rows of beats.

The slots are those of quickstart_templates. This module only holds material: it draws nothing and knows no chat form.
"""

from quickstart_templates import Frame, frame

ROOM = frame("""
the room of {name1} is {look} and {look}.
there is a {look} house {spot}.
{name1} lives in a {size} {tone} house.
the kitchen of {name1} is always {look}.

a {tone} {object} stands {spot}.
on the table there is a {look} {object} and a {tone} {object}.
{number} {things} lie {spot}.
from the window you can see {place1.sight}.

in the evening you can hear {sound}.
it smells of {food}.
on {day} the room is full of guests.

{name1} likes to sit there and {act}.
guests always get {food} and {goodthing}.
{name2} often comes to {act} there.""")

LETTER = frame("""
dear {name1},
my dear {name1},
dear {kin},

thank you for your letter and the {look} {object}.
how are you? I hope you are well.
I am writing to you from {place1.place}.

yesterday {weather}, and I thought of you.
yesterday I {past} and {past}.
every day I {act} with {name2}.
we eat {food} and {food} every day.

do you still like to {act}?
please tell me about {subject} and about your {kin}.
I miss you, and I would love to {act} with you again.

come and see us soon.
write to me when you have time.
remember that {truth}.

with love, {name2}
your friend {name2}
many kind wishes from {name2}""")

COMFORT = frame("""
"I feel {sorrow1.feeling}," said {name1}.
"what is wrong?" asked {name2}. "I am {sorrow1.feeling}," said {name1}.
{name1} was {sorrow1.feeling} and came to {name2}.

"thank you for telling me that you feel {sorrow1.feeling}," said {name2}.
"I hear you," said {name2}. "It is normal to feel {sorrow1.feeling}."
"everyone feels {sorrow1.feeling} sometimes," said {name2}.

"what helps?" asked {name1}. "{sorrow1.advice}," said {name2}.
"maybe it helps to {sorrow1.advice}," said {name2}.
{name2} said, "When I feel {sorrow1.feeling}, I remember one thing: {sorrow1.advice}."

they sat together and talked about {goodthing}.
{name1} {past}. Then the world looked a little better.
"will you stay with me?" asked {name1}. "Of course," said {name2}.""")

THOUGHT = frame("""
what is {noun1}? People think about it in many ways.
{noun1} is a big word for something simple.
"tell me about {noun1}," said {name1} to {his1} {kin}.

some people find {noun1} in {goodthing}.
{noun1} grows slowly, like a tree.
{noun1} begins with {goodthing}.
you cannot buy {noun1}, but you can share it.

{name2} says that {truth}.
a {good} person knows that {truth}.
without {noun1} life would be cold.

maybe that is why {goodthing} can mean so much.
so take time for {noun1} today.
I hope that you find some {noun1} every day.""")

PERSON = frame("""
{name1} is a {good} and {good} person.
my best friend is called {name1}, and {he1} is very {good}.
everyone in the village knows {name1}.

{he1} is a {job1.job} and {job1.work}.
{he1} loves to {act} and to {act}.
{his1} favourite colour is {tone}, and {his1} favourite food is {food}.
{he1} has {number} {animal1.many} and a {look} {object}.

when there is {weather1.kind}, {he1} likes to {weather1.act}.
every {day} {he1} visits {his1} {kin}.
{he1} is {good}, because {he1} knows that {truth}.

I am glad that {name1} is my friend.
"{truth}," {he1} often says.
people like {him1}, because {he1} is always {good}.""")

GOOD_TALK = frame("""
"hello, {name1}," said {name2}. "How are you today?"
"good morning, {name1}," said {name2}. "Did you sleep well?"
"it is nice to see you, {name1}," said {name2}. "What would you like to do?"

"I am {mood} today," said {name1}. "And you?"
"I am well, thank you," said {name1}. "I want to {act}."
"I would like to {act} or {act}," said {name1}.

"that sounds lovely," said {name2}. "Tell me more."
"I am glad to hear it," said {name2}. "What do you like about it?"
"we can {act} together," said {name2}. "Would you like that?"

"yes, that would be nice," said {name1}.
"do you want some {food} first?" asked {name1}.
"of course," said {name1}. "It makes me happy."

"I am here if you need me," said {name2}.
"thank you for talking with me," said {name1}. "Good night."
"see you on {day}," said {name2}. "Take care."
they both laughed and {past}.""")

KIND_REPLY = frame("""
"I am sorry that you feel {sorrow1.feeling}," said {name1}. "Maybe it helps to {sorrow1.advice}."
"I am glad that you feel {joy1.feeling}," said {name1}. "It is a good time to {joy1.advice}."
"it is hard to be {sorrow1.feeling}," said {name1}. "What made you feel so?"
"it is lovely to be {joy1.feeling}," said {name1}. "What made you feel so?"
"you are not alone," said {name1}. "I am here for you."
"it is lovely that you like to {act}," said {name1}. "I like it too."

"would you like to tell me more about it?" asked {name1}.
"what do you think?" asked {name1}. "How does that sound to you?"
"what makes you happy?" asked {name1}. "Do you have a favourite {object}?"
"please be gentle with yourself today, dear friend," said {name1}.
"what a lovely question!" said {name1}. "I am glad you ask."
"of course, I will help you," said {name1}. "I am happy to help."
"how exciting!" said {name1}. "I believe in you."

"thank you for your kind words," said {name2}. "You always help me."
{name2} smiled. "That is a wonderful idea," {he2} said.
"I will try it," said {name2}. "May I tell you about it tomorrow?"

"you can always talk to me," said {name1}.
"I would love to hear about it," said {name1}.
"you are welcome," said {name1}. "I am always here for you."
"take your time," said {name1}. "I am listening to you," {he1} said.""")

MEETING = frame("""
"what is your name?" asked {name1}. "My name is {name2}," said {name2}.
"do you have a name?" asked {name1}. "Yes, my name is {name2}," said {name2}.
"who are you?" asked {name1}. "I am {name2}," said {name2}. "And what is your name?"
"I have to go home now," said {name1}. "Take care," said {name2}. "See you soon!"
"goodbye," said {name1}. "See you tomorrow," said {name2}. "Take care."
"I want to sleep now," said {name1}. "Good night," said {name2}. "Sleep well."
"I am going to bed," said {name1}. "Sleep well and have a good dream," said {name2}.
"I made a mistake," said {name1}. "That can happen to everyone," said {name2}. "Be gentle with yourself."
"nobody likes me," said {name1}. "I like you," said {name2}. "You are not alone."
"will you be my friend?" asked {name1}. "Of course," said {name2}. "You can always talk to me."
"can you help me?" asked {name1}. "Of course," said {name2}. "What is wrong?"
"are you well?" asked {name1}. "I am well, thank you," said {name2}. "How are you?"
"what do you like best?" asked {name1}. "I like to {act} and to {act}," said {name2}.
"what is {noun1}?" asked {name1}. "{noun1} begins with {goodthing}," said {name2}.

{name1} smiled and {past}.
"thank you, {name2}," said {name1}.
then {name1} and {name2} talked about {subject}.
they {past} and {past}.""")

ANIMAL_PAGE = frame("""
{animal1.many} are animals that many people know.
what kind of animal is a {animal1.one}?
a {animal1.one} is an animal with {animal1.body}.

they live {animal1.place}, and they eat {animal1.food}.
{animal1.many} eat {animal1.food}.
{animal1.many} live {animal1.place}.

they have {animal1.body}, and they {animal1.habit}.
{animal1.many} {animal1.habit}.
if you have {animal1.food}, {animal1.many} will come to you.

{name1} would love to have a {animal1.one}.
{name1} saw {number} {animal1.many} {time}.
once {name1} met a {animal1.one} {spot}.""")

SCENES: list[Frame] = [ROOM, LETTER, COMFORT, THOUGHT, PERSON, GOOD_TALK, KIND_REPLY, MEETING, ANIMAL_PAGE]
